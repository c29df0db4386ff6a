package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/opencontainers/go-digest"
)

// Report is what `check` says. Errors holds the first of them; sizes and diffID are with the TOC's own entry.
type Report struct {
	TOCDigest  string   `json:"tocDigest"`
	DiffID     string   `json:"diffID"`
	TarSize    int64    `json:"tarSize"`
	BlobDigest string   `json:"blobDigest"`
	BlobSize   int64    `json:"blobSize"`
	Entries    int      `json:"entries"`
	Files      int      `json:"files"`
	Chunks     int      `json:"chunks"`
	Mangled    []string `json:"mangledNames,omitempty"`
	Errors     []string `json:"errors"`
}

const maxErrors = 50

func (r *Report) complain(format string, values ...any) {
	if len(r.Errors) < maxErrors {
		r.Errors = append(r.Errors, fmt.Sprintf(format, values...))
	}
}

func runCheck(args []string) error {
	options := flag.NewFlagSet("check", flag.ContinueOnError)
	tocDigest := options.String("toc-digest", "", "the annotation containerd.io/snapshot/stargz/toc.digest")
	blob, paths, err := openArgument(options, args, 1)
	if err != nil {
		return err
	}
	defer blob.close()
	report := &Report{BlobSize: blob.Size(), Errors: []string{}}
	for _, step := range []func(*Blob, *Report) error{
		func(b *Blob, r *Report) error { return checkChunks(b, digest.Digest(*tocDigest), r) },
		checkTar,
		checkUnpack,
	} {
		if err := step(blob, report); err != nil {
			report.complain("%v", err)
		}
	}
	if err := say(report); err != nil {
		return err
	}
	if len(report.Errors) > 0 {
		return fmt.Errorf("%s: %s", paths[0], report.Errors[0])
	}
	return nil
}

// checkChunks opens the blob as a reader does, verifies its TOC, then reads every chunk of every file.
func checkChunks(blob *Blob, tocDigest digest.Digest, report *Report) error {
	reader, err := estargz.Open(blob.SectionReader, estargz.WithDecompressors(blob.decompressor()))
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	report.TOCDigest = reader.TOCDigest().String()
	verifier, err := reader.VerifyTOC(tocDigest)
	if err != nil {
		return fmt.Errorf("verify the TOC: %w", err)
	}
	toc, err := blob.toc()
	if err != nil {
		return fmt.Errorf("parse the TOC: %w", err)
	}
	for _, entry := range toc.Entries {
		if entry.Type != "reg" {
			continue
		}
		name := strings.TrimPrefix(path.Clean("/"+entry.Name), "/")
		report.Files++
		if err := checkFile(reader, verifier, name, entry, report); err != nil {
			report.complain("%q: %v", name, err)
		}
	}
	return nil
}

func checkFile(reader *estargz.Reader, verifier estargz.TOCEntryVerifier, name string, entry *estargz.TOCEntry, report *Report) error {
	file, err := reader.OpenFile(name)
	if err != nil {
		return err
	}
	// As the snapshotter opens files: what is inflated on the way to them is handed over too.
	lazy, err := reader.OpenFileWithPreReader(name, func(_ *estargz.TOCEntry, r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		return err
	})
	if err != nil {
		return err
	}
	whole := sha256.New()
	for at := int64(0); at < entry.Size; report.Chunks++ {
		chunk, ok := reader.ChunkEntryForOffset(name, at)
		if !ok || chunk.ChunkOffset != at || chunk.ChunkSize <= 0 {
			return fmt.Errorf("no chunk begins at %d", at)
		}
		data := make([]byte, min(chunk.ChunkSize, entry.Size-at))
		if _, err := io.ReadFull(io.NewSectionReader(file, at, int64(len(data))), data); err != nil {
			return fmt.Errorf("chunk at %d: %w", at, err)
		}
		again := make([]byte, len(data))
		if _, err := io.ReadFull(io.NewSectionReader(lazy, at, int64(len(data))), again); err != nil {
			return fmt.Errorf("chunk at %d, with what comes before it: %w", at, err)
		}
		if !bytes.Equal(data, again) {
			return fmt.Errorf("chunk at %d: other bytes with what comes before it", at)
		}
		expected, err := verifier.Verifier(chunk)
		if err != nil {
			return fmt.Errorf("chunk at %d: %w", at, err)
		}
		if expected.Write(data); !expected.Verified() {
			return fmt.Errorf("chunk at %d: not the promised digest", at)
		}
		whole.Write(data)
		at += chunk.ChunkSize
	}
	if found := digest.NewDigest(digest.SHA256, whole); entry.Digest != found.String() && (entry.Size > 0 || entry.Digest != "") {
		return fmt.Errorf("digest %s, not %s", entry.Digest, found)
	}
	return nil
}

// checkTar decompresses the whole blob as an old runtime does, and compares each header with its entry.
func checkTar(blob *Blob, report *Report) error {
	toc, err := blob.toc()
	if err != nil {
		return fmt.Errorf("parse the TOC: %w", err)
	}
	entries := make([]*estargz.TOCEntry, 0, len(toc.Entries))
	for _, entry := range toc.Entries {
		if entry.Type != "chunk" {
			entries = append(entries, entry)
		}
	}
	report.Entries = len(entries)
	stored, uncompressed := sha256.New(), sha256.New()
	stream, err := blob.decompressor().Reader(io.TeeReader(io.NewSectionReader(blob, 0, blob.Size()), stored))
	if err != nil {
		return err
	}
	defer stream.Close()
	counted := &counter{Writer: uncompressed}
	tee := io.TeeReader(stream, counted)
	if err := walkTar(tee, entries, report); err != nil {
		report.complain("walk the tar: %v", err)
	}
	if _, err := io.Copy(io.Discard, tee); err != nil {
		return fmt.Errorf("decompress the blob: %w", err)
	}
	report.TarSize = counted.n
	report.DiffID = digest.NewDigest(digest.SHA256, uncompressed).String()
	report.BlobDigest = digest.NewDigest(digest.SHA256, stored).String()
	return nil
}

type counter struct {
	io.Writer
	n int64
}

func (c *counter) Write(data []byte) (int, error) {
	n, err := c.Writer.Write(data)
	c.n += int64(n)
	return n, err
}

func walkTar(stream io.Reader, entries []*estargz.TOCEntry, report *Report) error {
	reader := tar.NewReader(stream)
	for {
		header, err := reader.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		if path.Clean(header.Name) == estargz.TOCTarName || header.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if len(entries) == 0 {
			return fmt.Errorf("%q is not in the TOC", header.Name)
		}
		content := sha256.New()
		if _, err := io.Copy(content, reader); err != nil {
			return err
		}
		compareHeader(header, entries[0], digest.NewDigest(digest.SHA256, content).String(), report)
		entries = entries[1:]
	}
	for _, entry := range entries {
		report.complain("%q is in the TOC but not in the tar", entry.Name)
	}
	return nil
}

var types = map[byte]string{
	tar.TypeReg: "reg", tar.TypeCont: "reg", tar.TypeDir: "dir", tar.TypeSymlink: "symlink", tar.TypeLink: "hardlink",
	tar.TypeChar: "char", tar.TypeBlock: "block", tar.TypeFifo: "fifo",
}

func compareHeader(header *tar.Header, entry *estargz.TOCEntry, content string, report *Report) {
	differ := func(what string, inTOC, inTar any) {
		if inTOC != inTar {
			report.complain("%q: %s is %v in the TOC, %v in the tar", header.Name, what, inTOC, inTar)
		}
	}
	if name := throughJSON(header.Name); name != header.Name {
		report.Mangled = append(report.Mangled, name)
	}
	differ("name", entry.Name, throughJSON(header.Name))
	differ("type", entry.Type, types[header.Typeflag])
	differ("mode", entry.Mode, header.Mode)
	differ("uid", entry.UID, header.Uid)
	differ("gid", entry.GID, header.Gid)
	differ("linkName", entry.LinkName, throughJSON(header.Linkname))
	if header.Typeflag == tar.TypeReg {
		differ("size", entry.Size, header.Size)
		if header.Size > 0 || entry.Digest != "" {
			differ("digest", entry.Digest, content)
		}
	}
	if header.Typeflag == tar.TypeChar || header.Typeflag == tar.TypeBlock {
		differ("devMajor", int64(entry.DevMajor), header.Devmajor)
		differ("devMinor", int64(entry.DevMinor), header.Devminor)
	}
	compareTime(header, entry, report)
	compareXattrs(header, entry, report)
}

// compareTime takes whole seconds, as eStargz has them, and nanoseconds, as zstd:chunked of podman has them.
func compareTime(header *tar.Header, entry *estargz.TOCEntry, report *Report) {
	found := time.Unix(0, 0)
	if entry.ModTime3339 != "" {
		var err error
		if found, err = time.Parse(time.RFC3339, entry.ModTime3339); err != nil {
			report.complain("%q: %v", header.Name, err)
			return
		}
	}
	if !found.Equal(header.ModTime) && !found.Equal(header.ModTime.Round(time.Second)) {
		report.complain("%q: modtime is %v in the TOC, %v in the tar", header.Name, found, header.ModTime)
	}
}

func compareXattrs(header *tar.Header, entry *estargz.TOCEntry, report *Report) {
	const prefix = "SCHILY.xattr."
	wanted := map[string][]byte{}
	for key, value := range header.PAXRecords {
		if name, ok := strings.CutPrefix(key, prefix); ok {
			wanted[name] = []byte(value)
		}
	}
	if len(wanted) != len(entry.Xattrs) {
		report.complain("%q: %d xattrs in the TOC, %d in the tar", header.Name, len(entry.Xattrs), len(wanted))
	}
	for name, value := range wanted {
		if !bytes.Equal(value, entry.Xattrs[name]) {
			report.complain("%q: xattr %q is %q in the TOC, %q in the tar", header.Name, name, entry.Xattrs[name], value)
		}
	}
}

// throughJSON is the text as Go's JSON reader makes it of bytes that need not be UTF-8.
func throughJSON(text string) string {
	var found string
	encoded, err := json.Marshal(text)
	if err == nil {
		err = json.Unmarshal(encoded, &found)
	}
	if err != nil {
		return text
	}
	return found
}

// checkUnpack reads the tar that the library gives without TOC and footer, to its end.
func checkUnpack(blob *Blob, report *Report) error {
	stream, err := estargz.Unpack(blob.SectionReader, blob.decompressor())
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	defer stream.Close()
	reader := tar.NewReader(stream)
	n := 0
	for {
		header, err := reader.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			return fmt.Errorf("unpack: %w", err)
		}
		if header.Typeflag != tar.TypeXGlobalHeader {
			n++
		}
	}
	if n != report.Entries {
		return fmt.Errorf("unpack: %d entries, not %d", n, report.Entries)
	}
	return nil
}
