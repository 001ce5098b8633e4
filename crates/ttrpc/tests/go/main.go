// The implementation of ttrpc in Go, as a server and as a client of the service "orlop.Test" on a Unix socket.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const service = "orlop.Test"

func text(from func(interface{}) error) (string, error) {
	var value wrapperspb.StringValue
	err := from(&value)
	return value.Value, err
}

func methods() map[string]ttrpc.Method {
	return map[string]ttrpc.Method{
		"Echo": func(_ context.Context, from func(interface{}) error) (interface{}, error) {
			said, err := text(from)
			return wrapperspb.String(said), err
		},
		"Fail": func(_ context.Context, from func(interface{}) error) (interface{}, error) {
			said, _ := text(from)
			return nil, status.Error(codes.NotFound, said)
		},
		"Late": func(ctx context.Context, _ func(interface{}) error) (interface{}, error) {
			deadline, set := ctx.Deadline()
			if !set || time.Until(deadline) > time.Minute {
				return nil, errors.New("no deadline was heard")
			}
			<-ctx.Done()
			return nil, ctx.Err()
		},
		"Beside": func(ctx context.Context, _ func(interface{}) error) (interface{}, error) {
			values, _ := ttrpc.GetMetadata(ctx)
			return wrapperspb.String(strings.Join(values["key"], ",")), nil
		},
	}
}

func serve(socket string) error {
	server, err := ttrpc.NewServer()
	if err != nil {
		return err
	}
	server.Register(service, methods())
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	return server.Serve(context.Background(), listener)
}

func call(socket string) error {
	connection, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	client := ttrpc.NewClient(connection)
	defer client.Close()
	ask := func(ctx context.Context, method, said string) (string, error) {
		var answer wrapperspb.StringValue
		err := client.Call(ctx, service, method, wrapperspb.String(said), &answer)
		return answer.Value, err
	}
	background := context.Background()
	var all sync.WaitGroup
	wrong := make(chan error, 50)
	for number := range 50 {
		all.Add(1)
		go func() {
			defer all.Done()
			said := strings.Repeat(fmt.Sprint(number), 1+number*1000)
			if answer, err := ask(background, "Echo", said); err != nil || answer != said {
				wrong <- fmt.Errorf("echo %d: %d bytes, %w", number, len(answer), err)
			}
		}()
	}
	all.Wait()
	close(wrong)
	if err := <-wrong; err != nil {
		return err
	}
	if _, err := ask(background, "Fail", "why"); status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), "why") {
		return fmt.Errorf("fail: %w", err)
	}
	if _, err := ask(background, "None", ""); status.Code(err) != codes.Unimplemented {
		return fmt.Errorf("none: %w", err)
	}
	beside := ttrpc.WithMetadata(background, ttrpc.MD{"key": []string{"one", "two"}})
	if answer, err := ask(beside, "Beside", ""); err != nil || answer != "one,two" {
		return fmt.Errorf("beside: %q, %w", answer, err)
	}
	soon, cancel := context.WithTimeout(background, 200*time.Millisecond)
	defer cancel()
	if _, err := ask(soon, "Late", ""); err == nil {
		return errors.New("late: an answer")
	}
	stream, err := client.NewStream(background, &ttrpc.StreamDesc{StreamingServer: true}, service, "Echo", wrapperspb.String(""))
	if err != nil {
		return err
	}
	if err := stream.RecvMsg(&wrapperspb.StringValue{}); status.Code(err) != codes.Unimplemented {
		return fmt.Errorf("stream: %w", err)
	}
	if answer, err := ask(background, "Echo", "still"); err != nil || answer != "still" {
		return fmt.Errorf("afterwards: %q, %w", answer, err)
	}
	fmt.Println("all as it should be")
	return nil
}

func main() {
	act := map[string]func(string) error{"serve": serve, "call": call}[os.Args[1]]
	if err := act(os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
