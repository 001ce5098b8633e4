// A plugin of NRI that does what a script says, on the protocol's own messages and connection in Go.
//
// Arguments: name, index, socket (or "-" for the descriptor that the runtime hands over), script (a JSON file).
// Script: {"events": mask, "policy": {...}, "on": {EVENT: [{"name": container, "answer": {...}, "error": text, "sleep": ms, "exit": true}]}}:
// the first entry whose name fits (none fits all) is what is done. Answers are the protocol's messages as JSON.
// Says on stdout, a line each: what it hears, and answers to commands of its stdin: {"update": {UpdateContainersRequest}}.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/net/multiplex"
	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

type deed struct {
	Name          string
	Answer        json.RawMessage
	Error         string
	Sleep         int
	Exit          bool
	Unimplemented bool
}

type plugin struct {
	Events int32
	Policy json.RawMessage
	On     map[string][]deed
	Whole  bool
}

var saying sync.Mutex

func say(line map[string]any) {
	saying.Lock()
	defer saying.Unlock()
	text, _ := json.Marshal(line)
	fmt.Println(string(text))
}

func shown(message proto.Message) json.RawMessage {
	text, _ := protojson.MarshalOptions{UseProtoNames: true}.Marshal(message)
	return text
}

func (p *plugin) act(event, name string, heard proto.Message, answer proto.Message) error {
	line := map[string]any{"event": event, "name": name}
	if p.Whole {
		line["heard"] = shown(heard)
	}
	say(line)
	for _, deed := range p.On[event] {
		if deed.Name != "" && deed.Name != name {
			continue
		}
		if deed.Exit {
			os.Exit(7)
		}
		time.Sleep(time.Duration(deed.Sleep) * time.Millisecond)
		if deed.Unimplemented {
			return status.Error(codes.Unimplemented, "not in this version")
		}
		if deed.Error != "" {
			return errors.New(deed.Error)
		}
		if deed.Answer != nil {
			return protojson.Unmarshal(deed.Answer, answer)
		}
		return nil
	}
	return nil
}

func (p *plugin) Configure(_ context.Context, r *api.ConfigureRequest) (*api.ConfigureResponse, error) {
	say(map[string]any{"event": "Configure", "name": r.Config, "runtime": r.RuntimeName, "pid": os.Getpid(), "timeout": r.RequestTimeout})
	answer := &api.ConfigureResponse{Events: p.Events}
	if p.Policy != nil {
		answer.FailurePolicy = &api.FailurePolicy{}
		if err := protojson.Unmarshal(p.Policy, answer.FailurePolicy); err != nil {
			return nil, err
		}
	}
	return answer, p.act("Configured", "", r, answer)
}

func (p *plugin) Synchronize(_ context.Context, r *api.SynchronizeRequest) (*api.SynchronizeResponse, error) {
	answer := &api.SynchronizeResponse{More: r.More}
	pods, containers := []string{}, []string{}
	for _, pod := range r.Pods {
		pods = append(pods, pod.Id)
	}
	for _, container := range r.Containers {
		containers = append(containers, container.Id)
	}
	say(map[string]any{"event": "Synchronized", "name": "", "pods": pods, "containers": containers, "more": r.More})
	if r.More {
		return answer, nil
	}
	return answer, p.act("Synchronize", "", r, answer)
}

func (p *plugin) Shutdown(context.Context, *api.Empty) (*api.Empty, error) {
	return &api.Empty{}, nil
}

func (p *plugin) RunPodSandbox(_ context.Context, r *api.RunPodSandboxRequest) (*api.RunPodSandboxResponse, error) {
	answer := &api.RunPodSandboxResponse{}
	return answer, p.act("RunPodSandbox", r.Pod.Name, r, answer)
}

func (p *plugin) UpdatePodSandbox(_ context.Context, r *api.UpdatePodSandboxRequest) (*api.UpdatePodSandboxResponse, error) {
	answer := &api.UpdatePodSandboxResponse{}
	return answer, p.act("UpdatePodSandbox", r.Pod.Name, r, answer)
}

func (p *plugin) PostUpdatePodSandbox(_ context.Context, r *api.PostUpdatePodSandboxRequest) (*api.PostUpdatePodSandboxResponse, error) {
	answer := &api.PostUpdatePodSandboxResponse{}
	return answer, p.act("PostUpdatePodSandbox", r.Pod.Name, r, answer)
}

func (p *plugin) StopPodSandbox(_ context.Context, r *api.StopPodSandboxRequest) (*api.StopPodSandboxResponse, error) {
	answer := &api.StopPodSandboxResponse{}
	return answer, p.act("StopPodSandbox", r.Pod.Name, r, answer)
}

func (p *plugin) RemovePodSandbox(_ context.Context, r *api.RemovePodSandboxRequest) (*api.RemovePodSandboxResponse, error) {
	answer := &api.RemovePodSandboxResponse{}
	return answer, p.act("RemovePodSandbox", r.Pod.Name, r, answer)
}

func (p *plugin) CreateContainer(_ context.Context, r *api.CreateContainerRequest) (*api.CreateContainerResponse, error) {
	answer := &api.CreateContainerResponse{}
	return answer, p.act("CreateContainer", r.Container.Name, r, answer)
}

func (p *plugin) PostCreateContainer(_ context.Context, r *api.PostCreateContainerRequest) (*api.PostCreateContainerResponse, error) {
	answer := &api.PostCreateContainerResponse{}
	return answer, p.act("PostCreateContainer", r.Container.Name, r, answer)
}

func (p *plugin) StartContainer(_ context.Context, r *api.StartContainerRequest) (*api.StartContainerResponse, error) {
	answer := &api.StartContainerResponse{}
	return answer, p.act("StartContainer", r.Container.Name, r, answer)
}

func (p *plugin) PostStartContainer(_ context.Context, r *api.PostStartContainerRequest) (*api.PostStartContainerResponse, error) {
	answer := &api.PostStartContainerResponse{}
	return answer, p.act("PostStartContainer", r.Container.Name, r, answer)
}

func (p *plugin) UpdateContainer(_ context.Context, r *api.UpdateContainerRequest) (*api.UpdateContainerResponse, error) {
	answer := &api.UpdateContainerResponse{}
	return answer, p.act("UpdateContainer", r.Container.Name, r, answer)
}

func (p *plugin) PostUpdateContainer(_ context.Context, r *api.PostUpdateContainerRequest) (*api.PostUpdateContainerResponse, error) {
	answer := &api.PostUpdateContainerResponse{}
	return answer, p.act("PostUpdateContainer", r.Container.Name, r, answer)
}

func (p *plugin) StopContainer(_ context.Context, r *api.StopContainerRequest) (*api.StopContainerResponse, error) {
	answer := &api.StopContainerResponse{}
	return answer, p.act("StopContainer", r.Container.Name, r, answer)
}

func (p *plugin) RemoveContainer(_ context.Context, r *api.RemoveContainerRequest) (*api.RemoveContainerResponse, error) {
	answer := &api.RemoveContainerResponse{}
	return answer, p.act("RemoveContainer", r.Container.Name, r, answer)
}

func (p *plugin) StateChange(_ context.Context, r *api.StateChangeEvent) (*api.Empty, error) {
	say(map[string]any{"event": "StateChange", "name": r.Event.String()})
	return &api.Empty{}, nil
}

func (p *plugin) ValidateContainerAdjustment(_ context.Context, r *api.ValidateContainerAdjustmentRequest) (*api.ValidateContainerAdjustmentResponse, error) {
	answer := &api.ValidateContainerAdjustmentResponse{}
	return answer, p.act("ValidateContainerAdjustment", r.Container.Name, r, answer)
}

func connection(socket string) (net.Conn, error) {
	if socket != "-" {
		return net.Dial("unix", socket)
	}
	number, err := strconv.Atoi(os.Getenv(api.PluginSocketEnvVar))
	if err != nil {
		return nil, err
	}
	return net.FileConn(os.NewFile(uintptr(number), "nri"))
}

func run(name, index, socket, script string) error {
	text, err := os.ReadFile(script)
	if err != nil {
		return err
	}
	p := &plugin{}
	if err := json.Unmarshal(text, p); err != nil {
		return err
	}
	trunk, err := connection(socket)
	if err != nil {
		return err
	}
	mux := multiplex.Multiplex(trunk)
	listener, err := mux.Listen(multiplex.PluginServiceConn)
	if err != nil {
		return err
	}
	server, err := ttrpc.NewServer()
	if err != nil {
		return err
	}
	api.RegisterPluginService(server, p)
	go server.Serve(context.Background(), listener)
	call, err := mux.Open(multiplex.RuntimeServiceConn)
	if err != nil {
		return err
	}
	client := ttrpc.NewClient(call)
	runtime := api.NewRuntimeClient(client)
	if name != "mute" {
		_, err = runtime.RegisterPlugin(context.Background(), &api.RegisterPluginRequest{PluginName: name, PluginIdx: index})
		if err != nil {
			return err
		}
	}
	go func() {
		client.UserOnCloseWait(context.Background())
		say(map[string]any{"event": "Closed", "name": ""})
		os.Exit(0)
	}()
	commands := bufio.NewScanner(os.Stdin)
	for commands.Scan() {
		command := map[string]json.RawMessage{}
		if err := json.Unmarshal(commands.Bytes(), &command); err != nil {
			return err
		}
		request := &api.UpdateContainersRequest{}
		if err := protojson.Unmarshal(command["update"], request); err != nil {
			return err
		}
		answer, err := runtime.UpdateContainers(context.Background(), request)
		if err != nil {
			say(map[string]any{"event": "Refused", "name": err.Error()})
			continue
		}
		say(map[string]any{"event": "Updated", "name": strconv.Itoa(len(answer.Failed))})
	}
	select {}
}

func main() {
	arguments := os.Args[1:]
	if len(arguments) == 0 {
		// Started by the runtime: the script lies beside the program, and what is said goes to a file there.
		own, _ := os.Executable()
		out, err := os.OpenFile(own+".out", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err == nil {
			os.Stdout = out
		}
		arguments = []string{os.Getenv(api.PluginNameEnvVar), os.Getenv(api.PluginIdxEnvVar), "-", own + ".script"}
	}
	if err := run(arguments[0], arguments[1], arguments[2], arguments[3]); err != nil {
		say(map[string]any{"event": "Failed", "name": err.Error()})
		os.Exit(1)
	}
}
