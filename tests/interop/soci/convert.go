package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/awslabs/soci-snapshotter/soci"
	"github.com/awslabs/soci-snapshotter/soci/store"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// convert adds the accelerated image to the layout's blobs and prints the digest of its index.
func convert(layout, target, mediaType, size, minLayerSize string, platformNames []string) error {
	ctx := context.Background()
	contentStore, err := local.NewStore(layout)
	if err != nil {
		return err
	}
	blobStore, err := store.NewSociStore(layout)
	if err != nil {
		return err
	}
	databases, err := os.MkdirTemp("", "interop-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(databases)
	database, err := soci.NewDB(filepath.Join(databases, "artifacts.db"))
	if err != nil {
		return err
	}
	minimum, err := strconv.ParseInt(minLayerSize, 10, 64)
	if err != nil {
		return err
	}
	targetSize, err := strconv.ParseInt(size, 10, 64)
	if err != nil {
		return err
	}
	builder, err := soci.NewIndexBuilder(contentStore, blobStore, soci.WithArtifactsDb(database), soci.WithMinLayerSize(minimum))
	if err != nil {
		return err
	}
	image := images.Image{
		Name:   "interop",
		Target: ocispec.Descriptor{MediaType: mediaType, Digest: digest.Digest(target), Size: targetSize},
	}
	var wanted []ocispec.Platform
	for _, name := range platformNames {
		platform, err := platforms.Parse(name)
		if err != nil {
			return err
		}
		wanted = append(wanted, platform)
	}
	// What the builder prints on its way belongs beside, not into, the answer.
	answer := os.Stdout
	os.Stdout = os.Stderr
	converted, err := builder.Convert(ctx, image, soci.ConvertWithPlatforms(wanted...))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(answer, converted.Digest)
	return err
}
