// Command snapshotter serves stargz-snapshotter's snapshotter to containerd, and pulls through it. The programs that do
// so for users, containerd-stargz-grpc and ctr-remote, are in a module that is not published; what they call is.
//
//	snapshotter serve SOCKET ROOT HOST       the registry HOST is spoken to in plain HTTP
//	snapshotter pull ADDRESS REFERENCE       into the namespace "default" of the containerd at ADDRESS
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 4 && args[0] == "serve":
		return serve(ctx, args[1], args[2], args[3])
	case len(args) == 3 && args[0] == "pull":
		return pull(ctx, args[1], args[2])
	}
	return fmt.Errorf("usage: snapshotter serve SOCKET ROOT HOST | pull ADDRESS REFERENCE")
}
