package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParsePage(t *testing.T) {
	page := "# Title\n```bash\nexport A=1\necho one\n```\ntext\n```yaml\na: b\n```\n## Part\n```bash retry=3s\necho $A\n```\n```output\n1\n\n```\n"
	got, err := parsePage(page)
	if err != nil {
		t.Fatal(err)
	}
	want := []block{
		{line: 3, heading: "Title", code: "export A=1\necho one"},
		{line: 12, heading: "Part", code: "echo $A", want: []string{"1"}, retry: 3 * time.Second},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(block{})); diff != "" {
		t.Errorf("parsePage() (-want +got):\n%s", diff)
	}
}

func TestParsePageRefuses(t *testing.T) {
	for name, page := range map[string]string{
		"NotClosed":     "```bash\necho\n",
		"UnknownOption": "```bash sometimes\necho\n```\n",
		"OutputFirst":   "```output\nx\n```\n",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parsePage(page); err == nil {
				t.Errorf("parsePage(%q) gave no error", page)
			}
		})
	}
}

func TestMissing(t *testing.T) {
	const output = "NAME   STATUS\nfront  READY   12s\n"
	for name, tc := range map[string]struct {
		want []string
		miss string
	}{
		"InOrder":    {want: []string{"NAME STATUS", "front READY …"}},
		"WrongOrder": {want: []string{"front READY …", "NAME STATUS"}, miss: "NAME STATUS"},
		"Absent":     {want: []string{"back …"}, miss: "back …"},
		"WholeLine":  {want: []string{"front"}, miss: "front"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := missing(tc.want, output); got != tc.miss {
				t.Errorf("missing(%q) = %q, want %q", tc.want, got, tc.miss)
			}
		})
	}
}

func TestShell(t *testing.T) {
	sh, err := startShell(t.Context(), []string{"bash"})
	if err != nil {
		t.Fatal(err)
	}
	defer sh.close()
	type result struct {
		Output string
		Exit   int
	}
	for _, step := range []struct {
		code string
		want result
	}{
		{"export A=1\necho out; echo err >&2", result{"out\nerr\n", 0}},
		{"echo $A", result{"1\n", 0}},                                // variables last
		{"false\necho not reached", result{"", 1}},                   // stops at the first failure
		{"false | cat", result{"", 1}},                               // a pipe fails with any part
		{"cat", result{"", 0}},                                       // nothing reads the next block
		{"printf 'it'\"'\"'s'", result{"it's", 0}},                   // quotes survive
		{"f() { echo \"$1-$A\"; }\nf x", result{"x-1\n", 0}},         // functions work
		{"f y", result{"y-1\n", 0}},                                  // and last
		{"if false; then echo a; else echo b; fi", result{"b\n", 0}}, // a tested command is no failure
		{"cat <<'END'\nhere\nEND", result{"here\n", 0}},              // here documents
	} {
		output, exit, err := sh.do(t.Context(), step.code)
		if err != nil {
			t.Fatalf("do(%q): %v", step.code, err)
		}
		if diff := cmp.Diff(step.want, result{output, exit}); diff != "" {
			t.Errorf("do(%q) (-want +got):\n%s", step.code, diff)
		}
	}
}
