//! Peers come, ask, and leave.

use std::os::fd::{AsFd, OwnedFd};

use orlop_wire::message::{Answer, FromShim, Request};
use orlop_wire::record::Failure;
use rustix::io::Errno;
use rustix::net::SocketFlags;
use rustix::termios::Winsize;

use super::Shim;
use super::attach::AttachRequest;
use super::connection::Connection;
use super::poll::Source;
use super::process::ExecRequest;
use crate::record::failure;

/// More peers than this are refused: the server needs one, a second may look.
const MOST_PEERS: usize = 16;

impl Shim {
    pub(super) fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        while let Ok(socket) = rustix::net::accept_with(&self.listener, flags) {
            self.admit(socket);
        }
    }

    /// Takes a peer in.
    pub(crate) fn admit(&mut self, socket: OwnedFd) {
        let free = self.connections.iter().position(Option::is_none).unwrap_or(self.connections.len());
        let Ok(number) = u32::try_from(free) else { return };
        if free >= MOST_PEERS || self.poll.add(socket.as_fd(), Source::Connection(number)).is_err() {
            return;
        }
        if free == self.connections.len() {
            self.connections.push(None);
        }
        self.connections[free] = Some(Connection::new(socket));
    }

    pub(super) fn connection(&mut self, number: u32) -> Option<&mut Connection> {
        self.connections.get_mut(number as usize)?.as_mut()
    }

    fn let_go(&mut self, number: u32) {
        if let Some(place) = self.connections.get_mut(number as usize) {
            *place = None;
        }
        self.kill_execs_of(number);
        self.detach_all_of(number);
    }

    pub(super) fn hear(&mut self, number: u32) {
        let Some(connection) = self.connection(number) else { return };
        let alive = connection.receive();
        loop {
            let Some(connection) = self.connection(number) else { return };
            match connection.next::<Request>() {
                Ok(Some((sequence, request))) => self.carry_out(number, sequence, request),
                Ok(None) => break,
                Err(_) => return self.let_go(number),
            }
        }
        if !alive {
            self.let_go(number);
        }
    }

    /// Sends what waits; lets go of whoever does not read.
    pub(super) fn flush(&mut self) {
        let mut broken = Vec::new();
        for (connection, number) in self.connections.iter_mut().zip(0..) {
            if let Some(connection) = connection {
                if connection.waits() {
                    connection.flush();
                    let room = connection.waits();
                    self.poll.watch_room(connection.socket(), Source::Connection(number), room);
                }
                if connection.is_broken() {
                    broken.push(number);
                }
            }
        }
        for number in broken {
            self.let_go(number);
        }
    }

    pub(super) fn answer(&mut self, number: u32, sequence: u32, answer: Answer, descriptor: Option<OwnedFd>) {
        if let Some(connection) = self.connection(number) {
            connection.send(sequence, &FromShim::Answer { answer }, descriptor);
        }
    }

    fn carry_out(&mut self, number: u32, sequence: u32, request: Request) {
        let done = match request {
            Request::Hello => {
                if let Some(news) = self.standing()
                    && let Some(connection) = self.connection(number)
                {
                    connection.send(0, &FromShim::News { news }, None);
                }
                Ok(())
            }
            Request::Exec { exec, cgroups, unified, terminal, operations, leaves } => {
                let request = ExecRequest { number: exec, cgroups, unified, operations, stdio: None, leaves };
                match self.start_exec(number, sequence, terminal, request) {
                    // Its answer comes when the program runs.
                    Ok(()) => return,
                    Err(failure) => Err(failure),
                }
            }
            Request::Signal { exec, signal } => self.signal(exec, signal),
            Request::KillAll => {
                self.kill_all();
                Ok(())
            }
            Request::KillExec { exec } => {
                self.kill_exec(exec);
                Ok(())
            }
            Request::Reopen => {
                self.log.reopen().map_err(|errno| failure("reopen log", self.log_path(), errno))
            }
            Request::Resize { exec, rows, columns } => self.resize(exec, rows, columns),
            Request::Attach { attachment, stdin, stdout, stderr } => {
                let request = AttachRequest { number: attachment, stdin, outputs: [stdout, stderr] };
                match self.attach(number, &request) {
                    Ok((answer, input)) => return self.answer(number, sequence, answer, input),
                    Err(failure) => Err(failure),
                }
            }
            Request::Detach { attachment } => {
                self.detach(number, attachment);
                Ok(())
            }
        };
        let answer = done.map_or_else(|failure| Answer::Refused { failure }, |()| Answer::Done);
        self.answer(number, sequence, answer, None);
    }

    fn start_exec(
        &mut self,
        connection: u32,
        sequence: u32,
        terminal: bool,
        request: ExecRequest,
    ) -> Result<(), Failure> {
        let stdio = if terminal {
            None
        } else {
            let peer = self.connection(connection).ok_or_else(|| failure("exec", "no peer", Errno::BADF))?;
            match (peer.handed(), peer.handed(), peer.handed()) {
                (Some(input), Some(output), Some(error)) => Some([input, output, error]),
                _ => return Err(failure("exec", "stdin, stdout, stderr", Errno::BADF)),
            }
        };
        self.exec(connection, sequence, ExecRequest { stdio, ..request })
    }

    fn signal(&mut self, exec: Option<u64>, signal: i32) -> Result<(), Failure> {
        let sent = match exec {
            None => {
                let signal = if signal == libc::SIGKILL {
                    self.processes.first.killed = true;
                    self.killing()
                } else {
                    signal
                };
                orlop_sys::signal::send(self.processes.first.pidfd.as_fd(), signal)
            }
            Some(exec) => {
                let exec = self.processes.execs.get(&exec).ok_or(Errno::SRCH);
                exec.and_then(|exec| orlop_sys::signal::send(exec.pidfd.as_fd(), signal))
            }
        };
        match sent {
            // It has ended by itself: what a signal is for has come about.
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(failure("signal", signal.to_string(), errno)),
        }
    }

    fn kill_all(&mut self) {
        self.processes.first.killed = true;
        let signal = if self.commands.makes_first() { libc::SIGKILL } else { self.killing() };
        let _ = orlop_sys::signal::send(self.processes.first.pidfd.as_fd(), signal);
        crate::cgroups::kill_all(self.plan.unified.as_deref(), &self.plan.cgroups);
    }

    fn log_path(&self) -> String {
        self.plan.stdio.log.as_ref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
    }

    fn resize(&mut self, exec: Option<u64>, rows: u16, columns: u16) -> Result<(), Failure> {
        let master = match exec {
            None => self.master.as_ref(),
            Some(exec) => self.processes.execs.get(&exec).and_then(|exec| exec.master.as_ref()),
        };
        let master = master.ok_or_else(|| failure("resize", "no terminal", Errno::NOTTY))?;
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(master, size).map_err(|errno| failure("resize", "", errno))
    }
}
