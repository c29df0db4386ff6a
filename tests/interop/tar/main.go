// tarheaders reads tar archives from stdin and prints what Go's archive/tar makes of each, one JSON line an archive.
//
// An archive comes as a big-endian uint32 length and that many bytes. The program ends with its input.
package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"log"
	"os"
	"sort"
)

// Strings are []byte, base64 in JSON: names in a tar need not be UTF-8.
type entry struct {
	Name, Linkname, Uname, Gname []byte
	Typeflag                     byte
	Size, Mode                   int64
	Uid, Gid                     int
	MtimeSec                     int64
	MtimeNsec                    int
	Devmajor, Devminor           int64
	Pax                          [][2][]byte // sorted by key
	DataOffset                   int64       // bytes read from the archive when Next returned
}

type result struct {
	Entries []entry
	Error   string // empty: the archive ended well
	End     int64  // bytes read from the archive when the reader stopped
}

// counter hides the Seeker of what it reads, so that skipped data counts as read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func headers(archive []byte) result {
	in := &counter{r: bytes.NewReader(archive)}
	res := result{Entries: []entry{}}
	tr := tar.NewReader(in)
	for {
		h, err := tr.Next()
		if err != nil {
			res.End = in.n
			if err != io.EOF {
				res.Error = err.Error()
			}
			return res
		}
		pax := [][2][]byte{}
		for k, v := range h.PAXRecords {
			pax = append(pax, [2][]byte{[]byte(k), []byte(v)})
		}
		sort.Slice(pax, func(i, j int) bool { return bytes.Compare(pax[i][0], pax[j][0]) < 0 })
		res.Entries = append(res.Entries, entry{
			Name: []byte(h.Name), Linkname: []byte(h.Linkname), Uname: []byte(h.Uname), Gname: []byte(h.Gname),
			Typeflag: h.Typeflag, Size: h.Size, Mode: h.Mode, Uid: h.Uid, Gid: h.Gid,
			MtimeSec: h.ModTime.Unix(), MtimeNsec: h.ModTime.Nanosecond(),
			Devmajor: h.Devmajor, Devminor: h.Devminor, Pax: pax, DataOffset: in.n,
		})
	}
}

func main() {
	in := bufio.NewReader(os.Stdin)
	out := bufio.NewWriter(os.Stdout)
	for {
		var n uint32
		if err := binary.Read(in, binary.BigEndian, &n); err == io.EOF {
			return
		} else if err != nil {
			log.Fatal(err)
		}
		archive := make([]byte, n)
		if _, err := io.ReadFull(in, archive); err != nil {
			log.Fatal(err)
		}
		if err := json.NewEncoder(out).Encode(headers(archive)); err != nil {
			log.Fatal(err)
		}
		if err := out.Flush(); err != nil {
			log.Fatal(err)
		}
	}
}
