// Encodes values with encoding/json, for comparison: one case a line, its kind and its base64 bytes.
//
//	s <bytes of a string>   m <JSON object of strings>   f <decimal text of a float64>
//
// Prints one line of JSON for each.
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"log"
	"os"
	"strconv"
)

func value(kind byte, data []byte) (any, error) {
	switch kind {
	case 's':
		return string(data), nil
	case 'm':
		var m map[string]string
		err := json.Unmarshal(data, &m)
		return m, err
	default:
		return strconv.ParseFloat(string(data), 64)
	}
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 64<<20)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for in.Scan() {
		line := in.Text()
		data, err := base64.StdEncoding.DecodeString(line[2:])
		if err != nil {
			log.Fatal(err)
		}
		v, err := value(line[0], data)
		if err != nil {
			log.Fatal(err)
		}
		encoded, err := json.Marshal(v)
		if err != nil {
			log.Fatal(err)
		}
		out.Write(encoded)
		out.WriteByte('\n')
	}
}
