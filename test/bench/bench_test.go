package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	const output = `goos: linux
BenchmarkFull/Typed-2         	      50	  23000000 ns/op	      4000 parts
BenchmarkDecode               	       2	 500000000 ns/op	  12.34 MB/s	      4000 objects
PASS
ok  	example	1.2s
`
	want := map[string]map[string]float64{
		"BenchmarkFull/Typed": {"ns/op": 23e6, "parts": 4000},
		"BenchmarkDecode":     {"ns/op": 5e8, "MB/s": 12.34, "objects": 4000},
	}
	if diff := cmp.Diff(want, parse(output)); diff != "" {
		t.Errorf("parse() (-want +got):\n%s", diff)
	}
}

// An output that is empty is no figure.
func TestTableRefusesEmptyOutput(t *testing.T) {
	rows := []budget{{what: "x", bench: "BenchmarkX", metric: "ns/op", perUnit: 1, unit: "ns", limit: 1, output: "parts"}}
	for name, figures := range map[string]map[string]map[string]float64{
		"Missing": {},
		"Empty":   {"BenchmarkX": {"ns/op": 1, "parts": 0}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := table(rows, figures, nil); err == nil {
				t.Error("table() gave no error")
			}
		})
	}
	if err := table(rows, map[string]map[string]float64{"BenchmarkX": {"ns/op": 5, "parts": 1}}, nil); err != nil {
		t.Errorf("table() of a figure over its budget = %v, want it marked only", err)
	}
}
