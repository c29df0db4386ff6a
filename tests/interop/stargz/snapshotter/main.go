// Command snapshotter serves stargz-snapshotter's snapshotter to containerd, as its containerd-stargz-grpc does. That
// program's module is not published; all that it does for us is in packages that are.
//
//	snapshotter SOCKET ROOT REGISTRY-HOST       the host is spoken to in plain HTTP
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/contrib/snapshotservice"
	"github.com/containerd/stargz-snapshotter/fs/config"
	"github.com/containerd/stargz-snapshotter/service"
	"github.com/containerd/stargz-snapshotter/service/resolver"
	"google.golang.org/grpc"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("usage: snapshotter SOCKET ROOT REGISTRY-HOST")
	}
	socket, root, host := args[0], args[1], args[2]
	settings := &service.Config{
		Config: config.Config{NoPrometheus: true, NoBackgroundFetch: true, LogFileAccess: true},
		ResolverConfig: service.ResolverConfig{
			Host: map[string]resolver.HostConfig{host: {Mirrors: []resolver.MirrorConfig{{Host: host, Insecure: true}}}},
		},
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	snapshotter, err := service.NewStargzSnapshotterService(ctx, root, settings)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	snapshotsapi.RegisterSnapshotsServer(server, snapshotservice.FromSnapshotter(snapshotter))
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	go func() {
		<-ctx.Done()
		server.Stop()
	}()
	served := server.Serve(listener)
	if err := snapshotter.Close(); err != nil {
		return err
	}
	return served
}
