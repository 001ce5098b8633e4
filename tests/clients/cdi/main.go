// The reference implementation of CDI, asked: reads a list of cases from stdin, each a directory of files, a spec and names of devices,
// and writes what becomes of each spec, or why nothing does.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	oci "github.com/opencontainers/runtime-spec/specs-go"
	"tags.cncf.io/container-device-interface/pkg/cdi"
)

type request struct {
	Directories []string  `json:"directories"`
	Devices     []string  `json:"devices"`
	Spec        *oci.Spec `json:"spec"`
}

type answer struct {
	Spec  *oci.Spec `json:"spec,omitempty"`
	Error string    `json:"error,omitempty"`
}

func main() {
	var requests []request
	if err := json.NewDecoder(os.Stdin).Decode(&requests); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	answers := []answer{}
	for _, one := range requests {
		answers = append(answers, edit(one))
	}
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func edit(one request) answer {
	cache, err := cdi.NewCache(cdi.WithSpecDirs(one.Directories...), cdi.WithAutoRefresh(false))
	if err != nil {
		return answer{Error: err.Error()}
	}
	if _, err := cache.InjectDevices(one.Spec, one.Devices...); err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Spec: one.Spec}
}
