package main

import (
	"context"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/stargz-snapshotter/fs/source"
)

// pull does what `ctr-remote image rpull` does: it tells the snapshotter where each layer comes from, and unpacks only
// the layers that the snapshotter did not take.
func pull(ctx context.Context, address, reference string) error {
	daemon, err := client.New(address, client.WithDefaultNamespace("default"))
	if err != nil {
		return err
	}
	defer daemon.Close()
	hosts := docker.ConfigureDefaultRegistries(docker.WithPlainHTTP(docker.MatchLocalhost))
	_, err = daemon.Pull(ctx, reference,
		client.WithResolver(docker.NewResolver(docker.ResolverOptions{Hosts: hosts})),
		client.WithPullUnpack,
		client.WithPullSnapshotter("stargz"),
		client.WithImageHandlerWrapper(source.AppendDefaultLabelsHandlerWrapper(reference, 0)),
	)
	return err
}
