package main

import (
	"context"
	"flag"
	"io"

	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/signature"
	imagestorage "go.podman.io/image/v5/storage"
	"go.podman.io/image/v5/transports/alltransports"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage"
)

// Copied is what `copy` says. Manifest is the one that was chosen, if the reference leads to an index.
type Copied struct {
	Manifest string  `json:"manifest"`
	Layers   []Layer `json:"layers"`
}

// Layer is one of the image's, from the first on. A layer that was pulled partially has a TOCDigest.
type Layer struct {
	DiffID    string `json:"diffID"`
	TOCDigest string `json:"tocDigest"`
	Exported  string `json:"exported"`
}

func runCopy(args []string) error {
	options := flag.NewFlagSet("copy", flag.ContinueOnError)
	root := options.String("root", "", "an empty directory")
	partial := options.Bool("partial", true, "enable_partial_images of storage.conf")
	names, err := parse(options, args, 1)
	if err != nil {
		return err
	}
	store, err := openStore(*root, *partial)
	if err != nil {
		return err
	}
	defer store.Shutdown(true)
	copied, err := copyImage(store, names[0])
	if err != nil {
		return err
	}
	return say(copied)
}

func copyImage(store storage.Store, name string) (*Copied, error) {
	from, err := alltransports.ParseImageName("docker://" + name)
	if err != nil {
		return nil, err
	}
	to, err := imagestorage.Transport.ParseStoreReference(store, "copied:latest")
	if err != nil {
		return nil, err
	}
	trust, err := signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
	})
	if err != nil {
		return nil, err
	}
	defer trust.Destroy()
	plain := &types.SystemContext{DockerInsecureSkipTLSVerify: types.OptionalBoolTrue, BlobInfoCacheDir: store.GraphRoot()}
	raw, err := copy.Image(context.Background(), trust, to, from, &copy.Options{
		SourceCtx: plain, DestinationCtx: plain, ReportWriter: io.Discard,
	})
	if err != nil {
		return nil, err
	}
	chosen, err := manifest.Digest(raw)
	if err != nil {
		return nil, err
	}
	layers, err := layersOf(store, to)
	return &Copied{chosen.String(), layers}, err
}

func layersOf(store storage.Store, reference types.ImageReference) ([]Layer, error) {
	_, image, err := imagestorage.ResolveReference(reference)
	if err != nil {
		return nil, err
	}
	var found []Layer
	for next := image.TopLayer; next != ""; {
		layer, err := store.Layer(next)
		if err != nil {
			return nil, err
		}
		tar, err := exported(store, layer)
		if err != nil {
			return nil, err
		}
		found = append([]Layer{{layer.UncompressedDigest.String(), layer.TOCDigest.String(), tar}}, found...)
		next = layer.Parent
	}
	return found, nil
}
