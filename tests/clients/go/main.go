// Streams drives exec, attach and port-forward with Kubernetes' own client library, and says what it saw as one line of JSON.
//
//	streams command spdy|websocket|fallback URL [-protocol P] [-stdin TEXT] [-input] [-hold] [-stdout] [-stderr] [-tty] [-size WxH]... [-count]
//	streams forward spdy|tunnel URL PORT [-send TEXT] [-times N] [-half] [-plain]
//
// For command: {"stdout":…,"stderr":…,"bytes":…,"code":…,"error":…,"seconds":…}. -input opens the input although there is nothing to
// send, -hold leaves it open until the command ends, -count keeps no output, only its length. fallback is kubectl's: WebSocket first, in
// a version that nobody knows, then SPDY with the same URL.
// For forward: N connections at once, each of which sends TEXT, with its number in front unless -plain, and reads to the end:
// {"answers":[…],"error":…}. -half ends what it sends before it
// reads.
//
// Invariant: nothing of orlop is in here but its URL.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
	streaming "k8s.io/streaming/pkg/httpstream"
)

const patience = 2 * time.Minute

func main() {
	if len(os.Args) < 4 {
		fail(errors.New("see the top of main.go"))
	}
	target, err := url.Parse(os.Args[3])
	if err != nil {
		fail(err)
	}
	config := &rest.Config{Host: target.Scheme + "://" + target.Host}
	config.Insecure = target.Scheme == "https"
	switch os.Args[1] {
	case "command":
		command(config, target, os.Args[2], os.Args[4:])
	case "forward":
		forward(config, target, os.Args[2], os.Args[4], os.Args[5:])
	default:
		fail(errors.New("command or forward"))
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func say(what any) {
	if err := json.NewEncoder(os.Stdout).Encode(what); err != nil {
		fail(err)
	}
}

// output keeps what is written, or only counts it.
type output struct {
	kept  bytes.Buffer
	bytes int
	count bool
}

func (o *output) Write(piece []byte) (int, error) {
	o.bytes += len(piece)
	if o.count {
		return len(piece), nil
	}
	return o.kept.Write(piece)
}

// sizes is a flag that may be given more than once, and a queue of terminal sizes.
type sizes struct {
	queue chan remotecommand.TerminalSize
}

func (s sizes) String() string { return "" }

func (s sizes) Set(text string) error {
	var size remotecommand.TerminalSize
	if _, err := fmt.Sscanf(text, "%dx%d", &size.Width, &size.Height); err != nil {
		return err
	}
	s.queue <- size
	return nil
}

func (s sizes) Next() *remotecommand.TerminalSize {
	size, more := <-s.queue
	if !more {
		return nil
	}
	return &size
}

// held gives a text, and then nothing: the input stays open.
type held struct {
	text io.Reader
}

func (h held) Read(piece []byte) (int, error) {
	if read, err := h.text.Read(piece); err != io.EOF {
		return read, err
	}
	select {}
}

func command(config *rest.Config, target *url.URL, form string, arguments []string) {
	flags := flag.NewFlagSet("command", flag.ExitOnError)
	protocol := flags.String("protocol", "", "the one to offer; all, if none")
	stdin := flags.String("stdin", "", "what to send")
	input := flags.Bool("input", false, "open the input, even if there is nothing to send")
	hold := flags.Bool("hold", false, "leave the input open")
	stdout := flags.Bool("stdout", false, "open stdout")
	stderr := flags.Bool("stderr", false, "open stderr")
	tty := flags.Bool("tty", false, "a terminal")
	count := flags.Bool("count", false, "count, and keep nothing")
	queue := sizes{make(chan remotecommand.TerminalSize, 16)}
	flags.Var(queue, "size", "a size of the terminal")
	flags.Parse(arguments)

	executor, err := executor(config, target, form, *protocol)
	if err != nil {
		fail(err)
	}
	out, errors_ := &output{count: *count}, &output{count: *count}
	options := remotecommand.StreamOptions{Tty: *tty}
	if *stdin != "" || *input {
		options.Stdin = strings.NewReader(*stdin)
		if *hold {
			options.Stdin = held{options.Stdin}
		}
	}
	if *stdout {
		options.Stdout = out
	}
	if *stderr {
		options.Stderr = errors_
	}
	if *tty {
		options.TerminalSizeQueue = queue
	}
	within, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	begun := time.Now()
	err = executor.StreamWithContext(within, options)
	seen := map[string]any{
		"stdout": out.kept.String(), "stderr": errors_.kept.String(), "bytes": out.bytes, "code": 0, "error": "",
		"seconds": time.Since(begun).Seconds(),
	}
	if err != nil {
		seen["error"] = err.Error()
		var exited exec.CodeExitError
		if errors.As(err, &exited) {
			seen["code"] = exited.Code
		}
	}
	say(seen)
}

func executor(config *rest.Config, target *url.URL, form, protocol string) (remotecommand.Executor, error) {
	switch {
	case form == "spdy" && protocol == "":
		return remotecommand.NewSPDYExecutor(config, "POST", target)
	case form == "spdy":
		transport, upgrader, err := spdy.RoundTripperFor(config)
		if err != nil {
			return nil, err
		}
		return remotecommand.NewSPDYExecutorForProtocols(transport, upgrader, "POST", target, protocol)
	case form == "websocket" && protocol == "":
		return remotecommand.NewWebSocketExecutor(config, "GET", target.String())
	case form == "websocket":
		return remotecommand.NewWebSocketExecutorForProtocols(config, "GET", target.String(), protocol)
	case form == "fallback":
		first, err := remotecommand.NewWebSocketExecutorForProtocols(config, "GET", target.String(), "v9.channel.k8s.io")
		if err != nil {
			return nil, err
		}
		second, err := remotecommand.NewSPDYExecutor(config, "POST", target)
		if err != nil {
			return nil, err
		}
		return remotecommand.NewFallbackExecutor(first, second, func(err error) bool {
			return httpstream.IsUpgradeFailure(err) || streaming.IsUpgradeFailure(err)
		})
	}
	return nil, fmt.Errorf("%s: spdy, websocket or fallback", form)
}

func forward(config *rest.Config, target *url.URL, form, port string, arguments []string) {
	flags := flag.NewFlagSet("forward", flag.ExitOnError)
	send := flags.String("send", "", "what to send")
	times := flags.Int("times", 1, "how many connections")
	half := flags.Bool("half", false, "end what is sent before reading")
	plain := flags.Bool("plain", false, "send the text as it is")
	flags.Parse(arguments)

	dialer, err := dialer(config, target, form)
	if err != nil {
		fail(err)
	}
	stop, ready, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	said := &output{}
	forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{"0:" + port}, stop, ready, io.Discard, said)
	if err != nil {
		fail(err)
	}
	go func() { ended <- forwarder.ForwardPorts() }()
	select {
	case err := <-ended:
		say(map[string]any{"answers": []string{}, "error": fmt.Sprint(err)})
		return
	case <-ready:
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		fail(err)
	}
	local := fmt.Sprintf("127.0.0.1:%d", ports[0].Local)
	answers := make([]string, *times)
	var all sync.WaitGroup
	for number := range answers {
		text := fmt.Sprintf("%d %s", number, *send)
		if *plain {
			text = *send
		}
		all.Go(func() { answers[number] = ask(local, text, *half) })
	}
	all.Wait()
	close(stop)
	words := ""
	if err := <-ended; err != nil {
		words = err.Error()
	}
	say(map[string]any{"answers": answers, "error": words})
}

func dialer(config *rest.Config, target *url.URL, form string) (httpstream.Dialer, error) {
	switch form {
	case "spdy":
		transport, upgrader, err := spdy.RoundTripperFor(config)
		if err != nil {
			return nil, err
		}
		return spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", target), nil
	case "tunnel":
		return portforward.NewSPDYOverWebsocketDialer(target, config)
	}
	return nil, fmt.Errorf("%s: spdy or tunnel", form)
}

func ask(address, text string, half bool) string {
	connection, err := net.Dial("tcp", address)
	if err != nil {
		return "error: " + err.Error()
	}
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(connection, text); err != nil {
		return "error: " + err.Error()
	}
	if half {
		connection.(*net.TCPConn).CloseWrite()
	}
	answer, err := io.ReadAll(connection)
	if err != nil {
		return "error: " + err.Error()
	}
	return string(answer)
}
