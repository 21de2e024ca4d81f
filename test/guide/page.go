package main

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// block is one ```bash block of a page with the ```output block that follows it, if any.
type block struct {
	line    int // of the first command
	heading string
	code    string
	// want are the lines that the output must contain, in this order. "…" stands for anything.
	want []string
	// retry is how long the block may be repeated until it succeeds: for what takes effect a moment later.
	retry time.Duration
}

// parsePage returns the blocks of a Markdown page that are to be run.
func parsePage(page string) ([]block, error) {
	var (
		blocks  []block
		heading string
		body    []string
		info    string
		open    int
	)
	for i, line := range strings.Split(page, "\n") {
		n := i + 1
		fence, rest, isFence := cutFence(line)
		switch {
		case open == 0 && isFence && fence:
			info, open, body = rest, n, nil
		case open > 0 && isFence && rest == "":
			if err := closeBlock(&blocks, info, heading, open, body); err != nil {
				return nil, err
			}
			open = 0
		case open > 0:
			body = append(body, line)
		case strings.HasPrefix(line, "#"):
			heading = strings.TrimSpace(strings.TrimLeft(line, "#"))
		}
	}
	if open > 0 {
		return nil, fmt.Errorf("line %d: block is not closed", open)
	}
	return blocks, nil
}

// cutFence says whether line is a fence, and what stands behind it.
func cutFence(line string) (fence bool, info string, ok bool) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(line), "```")
	return ok, strings.TrimSpace(rest), ok
}

// closeBlock adds a finished block to blocks: a new one for bash, the expectation of the last one for output.
func closeBlock(blocks *[]block, info, heading string, open int, body []string) error {
	lang, options, _ := strings.Cut(info, " ")
	switch lang {
	case "bash":
		b := block{line: open + 1, heading: heading, code: strings.Join(body, "\n")}
		for option := range strings.FieldsSeq(options) {
			value, ok := strings.CutPrefix(option, "retry=")
			d, err := time.ParseDuration(value)
			if !ok || err != nil {
				return fmt.Errorf("line %d: unknown option %q, only retry=<duration> exists", open, option)
			}
			b.retry = d
		}
		*blocks = append(*blocks, b)
	case "output":
		if len(*blocks) == 0 {
			return fmt.Errorf("line %d: output without a command before it", open)
		}
		for _, l := range body {
			if strings.TrimSpace(l) != "" {
				(*blocks)[len(*blocks)-1].want = append((*blocks)[len(*blocks)-1].want, l)
			}
		}
	}
	return nil
}

// missing returns the first wanted line that the output lacks, in order; "" when all are there.
func missing(want []string, output string) string {
	lines := strings.Split(output, "\n")
	at := 0
	for _, w := range want {
		re := wanted(w)
		found := false
		for ; at < len(lines) && !found; at++ {
			found = re.MatchString(strings.TrimRight(lines[at], "\r"))
		}
		if !found {
			return w
		}
	}
	return ""
}

// wanted makes a pattern of a line of an output block: white space is any white space, "…" is anything.
func wanted(line string) *regexp.Regexp {
	var parts []string
	for field := range strings.FieldsSeq(line) {
		parts = append(parts, strings.ReplaceAll(regexp.QuoteMeta(field), "…", ".*"))
	}
	return regexp.MustCompile(`^\s*` + strings.Join(parts, `\s+`) + `\s*$`)
}
