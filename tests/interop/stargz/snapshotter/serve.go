package main

import (
	"context"
	"errors"
	"net"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/contrib/snapshotservice"
	"github.com/containerd/stargz-snapshotter/fs/config"
	"github.com/containerd/stargz-snapshotter/service"
	"github.com/containerd/stargz-snapshotter/service/resolver"
	"google.golang.org/grpc"
)

// serve answers until ctx ends. Nothing is fetched that nobody asked for but what is before the landmark.
func serve(ctx context.Context, socket, root, host string) error {
	settings := &service.Config{
		Config: config.Config{NoPrometheus: true, NoBackgroundFetch: true},
		ResolverConfig: service.ResolverConfig{
			Host: map[string]resolver.HostConfig{
				host: {Mirrors: []resolver.MirrorConfig{{Host: host, Insecure: true}}},
			},
		},
	}
	snapshotter, err := service.NewStargzSnapshotterService(ctx, root, settings)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	snapshotsapi.RegisterSnapshotsServer(server, snapshotservice.FromSnapshotter(snapshotter))
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return errors.Join(err, snapshotter.Close())
	}
	go func() {
		<-ctx.Done()
		server.Stop()
	}()
	return errors.Join(server.Serve(listener), snapshotter.Close())
}
