package resource

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// chunk is the text of one document of a file.
type chunk struct {
	text []byte
	// above is the number of lines of the file before text.
	above int
}

// split cuts a file into documents without parsing it, so that a mistake in one hides nothing in the others. YAML
// allows "---" at the start of a line nowhere else.
func split(data []byte) []chunk {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if chunks, ok := splitJSON(data); ok {
		return chunks
	}
	var chunks []chunk
	start, above, line := 0, 0, 0
	cut := func(at, lines int) {
		if at > start {
			chunks = append(chunks, chunk{data[start:at], above})
		}
		start, above = at, lines
	}
	for at := 0; at < len(data); line++ {
		end := len(data)
		if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		switch {
		case isMarker(data[at:end], "---") && onlyComments(data[start:at]):
			// What stands before the first document is no document.
			start, above = at, line
		case isMarker(data[at:end], "---"):
			cut(at, line)
		case isMarker(data[at:end], "..."):
			cut(end, line+1)
		}
		at = end
	}
	cut(len(data), line)
	return chunks
}

// isMarker says whether a line is a document marker.
func isMarker(line []byte, marker string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(marker))
	return ok && (len(rest) == 0 || strings.IndexByte(" \t\r\n", rest[0]) >= 0)
}

// onlyComments says whether text has nothing but comments, directives and white space.
func onlyComments(text []byte) bool {
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' && line[0] != '%' {
			return false
		}
	}
	return true
}

// splitJSON cuts a stream of JSON values. Tabs are legal there and not in YAML, and a tab inside a JSON string is
// always escaped.
func splitJSON(data []byte) ([]chunk, bool) {
	if t := bytes.TrimSpace(data); len(t) == 0 || t[0] != '{' && t[0] != '[' {
		return nil, false
	}
	var chunks []chunk
	d := json.NewDecoder(bytes.NewReader(data))
	above, from := 0, int64(0)
	for {
		var v json.RawMessage
		err := d.Decode(&v)
		if errors.Is(err, io.EOF) {
			return chunks, true
		}
		if err != nil {
			return nil, false // perhaps YAML in flow style; its parser has better messages
		}
		start := d.InputOffset() - int64(len(v))
		above += bytes.Count(data[from:start], []byte("\n"))
		text := bytes.ReplaceAll(v, []byte("\t"), []byte(" "))
		chunks = append(chunks, chunk{surrogates.ReplaceAllFunc(text, joinSurrogates), above})
		above += bytes.Count(v, []byte("\n"))
		from = d.InputOffset()
	}
}

// surrogates is a character outside the basic plane as JSON escapes it; YAML has no such escape.
var surrogates = regexp.MustCompile(`\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}`)

func joinSurrogates(b []byte) []byte {
	var s string
	if err := json.Unmarshal([]byte(`"`+string(b)+`"`), &s); err != nil {
		return b
	}
	r, _ := utf8.DecodeRuneInString(s)
	return fmt.Appendf(nil, `\U%08x`, r)
}

// parse returns the root of a document, nil for an empty one. Otherwise it says what is wrong and in which line of
// the file.
func (c chunk) parse() (root *yaml.Node, line int, wrong string) {
	if i := invalidUTF8(c.text); i >= 0 {
		return nil, c.above + 1 + bytes.Count(c.text[:i], []byte("\n")), "the text is not UTF-8"
	}
	var doc yaml.Node
	err := yaml.Unmarshal(c.text, &doc)
	if err == nil && len(doc.Content) > 0 && doc.Content[0].Style&yaml.FlowStyle != 0 {
		err = c.oneDocument()
	}
	if err != nil {
		line, wrong := c.syntax(err)
		return nil, c.above + line, wrong
	}
	if len(doc.Content) == 0 || isNull(doc.Content[0]) {
		return nil, 0, ""
	}
	return doc.Content[0], 0, ""
}

// oneDocument says whether more text follows the end of the document. Block style ends where the text ends, or the
// parser sees it; flow style ends with its bracket.
func (c chunk) oneDocument() error {
	d := yaml.NewDecoder(bytes.NewReader(c.text))
	if err := d.Decode(new(yaml.Node)); err != nil {
		return err
	}
	switch err := d.Decode(new(yaml.Node)); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	}
	return errors.New("yaml: there is more text after the end of the document")
}

// invalidUTF8 is the offset of the first byte that is not UTF-8, or -1.
func invalidUTF8(b []byte) int {
	if utf8.Valid(b) {
		return -1
	}
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

var (
	yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)
	bareStar = regexp.MustCompile(`(?m)^[^#"'\n]*(?:^|[:\-,\[]\s*)(\*[^\s,\]}#]*)`)
	tabStart = regexp.MustCompile(`(?m)^ *(?:- +)*\t`)
	template = regexp.MustCompile(`(?m)^[^"'#\n]*(\{\{|\$\{[A-Za-z_])`)
)

// syntax turns an error of the YAML parser into a line of the document and a sentence that helps. Where the reason
// can be seen in the text, the line comes from there: the parser often notices late.
func (c chunk) syntax(err error) (line int, wrong string) {
	m := yamlLine.FindStringSubmatch(err.Error())
	if m == nil {
		return 1, err.Error()
	}
	line, _ = strconv.Atoi(m[1])
	line = max(line, 1)
	wrong = m[2]
	at := func(i int) int { return 1 + bytes.Count(c.text[:i], []byte("\n")) }
	alias := strings.Contains(wrong, "unknown anchor") || strings.Contains(wrong, "alphabetic or numeric character")
	if i := bareStar.FindSubmatchIndex(c.text); alias && i != nil {
		value := c.text[i[2]:i[3]]
		return at(i[2]), fmt.Sprintf("%s starts with '*', which is a reference in YAML: quote it: %q", value, value)
	}
	if i := tabStart.FindIndex(c.text); i != nil && strings.Contains(wrong, "cannot start any token") {
		return at(i[1] - 1), "a tab is used for indentation; YAML allows only spaces"
	}
	if i := template.FindSubmatchIndex(c.text); i != nil {
		return at(i[2]), notRendered
	}
	return c.narrow(line, wrong), "not YAML: " + plain(wrong)
}

// plain says what the words of the parser mean for people.
func plain(wrong string) string {
	for _, w := range [][2]string{
		{"did not find expected key", "the line does not fit the indentation of those above, or has no ':'"},
		{"mapping values are not allowed", "a ':' where none can be: is the indentation right, or does the value need quotes?"},
		{"found unexpected end of stream", "a quote that is opened here is never closed"},
		{"did not find expected ',' or ']'", "a '[' that is opened here is never closed, or a ',' is missing"},
		{"did not find expected ',' or '}'", "a '{' that is opened here is never closed, or a ',' is missing"},
		{"did not find expected '-' indicator", "the line does not fit the list above it"},
		{"did not find expected <document start>", "there is more text after the end of the object"},
		{"found character that cannot start any token", "a value starts with a character that needs quotes"},
	} {
		if strings.HasPrefix(wrong, w[0]) {
			return w[1]
		}
	}
	return wrong
}

// narrow finds the line in which a mistake shows: the first lines up to it have the mistake too, fewer do not. The
// parser names the line in which the surrounding object starts, which can be far away.
func (c chunk) narrow(line int, wrong string) int {
	const tooMuch = 1 << 18 // it takes a dozen parses
	if len(c.text) > tooMuch {
		return line
	}
	ends := []int{0}
	for i, b := range c.text {
		if b == '\n' || i == len(c.text)-1 {
			ends = append(ends, i+1)
		}
	}
	found := sort.Search(len(ends), func(k int) bool {
		err := yaml.Unmarshal(c.text[:ends[k]], new(yaml.Node))
		return err != nil && strings.HasSuffix(err.Error(), wrong)
	})
	if found == 0 || found == len(ends) {
		return line
	}
	return found
}

func abs(i int) int { return max(i, -i) }

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }
