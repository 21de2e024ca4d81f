package scenarios

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"isthmus.dev/isthmus/test/scenarios/call"
)

// Every file can be read; whether it is right only a sandbox can say.
func TestFiles(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scenarios (err %v)", err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(path, text); err != nil {
			t.Error(err)
		}
	}
}

func TestParse(t *testing.T) {
	const request = "\n-- requests --\n- {request: GET http://a.test/, want: 200}\n"
	for name, tc := range map[string]struct {
		file, text string
		says       string // empty: it is right
	}{
		"Right":              {"a.txtar", "Shows it." + request, ""},
		"Title":              {"a.txtar", "Shows it.\n-- requests: the refused side --\n- {request: GET http://a.test/, want: {fails: \"~\"}}\n", ""},
		"Places":             {"a.txtar", "Shows it.\n-- apply c1 c2 --\nkind: A\n", ""},
		"NoLesson":           {"a.txtar", request, "what the scenario shows"},
		"LongName":           {strings.Repeat("a", 40) + ".txtar", "Shows it." + request, "at most 32"},
		"Nothing":            {"a.txtar", "Shows it.\n", "nothing to do"},
		"UnknownStep":        {"a.txtar", "Shows it.\n-- aply tsb --\nkind: A\n", `no step "aply"`},
		"ApplyNowhere":       {"a.txtar", "Shows it.\n-- apply --\nkind: A\n", "where"},
		"UnknownCluster":     {"a.txtar", "Shows it.\n-- apply c9 --\nkind: A\n", "c9"},
		"SetupLater":         {"a.txtar", "Shows it." + request + "-- setup --\nalone: true\n", "setup has to come first"},
		"UnknownKey":         {"a.txtar", "Shows it.\n-- requests --\n- {request: GET http://a.test/, wants: 200}\n", "wants"},
		"UnknownKeyInWant":   {"a.txtar", "Shows it.\n-- requests --\n- {request: GET http://a.test/, want: {state: 200}}\n", "state"},
		"UnknownKeyInSetup":  {"a.txtar", "Shows it.\n-- setup --\ngateway: {}\n" + request, "gateway"},
		"NothingWanted":      {"a.txtar", "Shows it.\n-- requests --\n- {request: GET http://a.test/}\n", "nothing is wanted"},
		"NoMethod":           {"a.txtar", "Shows it.\n-- requests --\n- {request: http://a.test/, want: 200}\n", "method"},
		"SendHTTP":           {"a.txtar", "Shows it.\n-- requests --\n- {request: SEND http://a.test/, want: 200}\n", "SEND"},
		"CountsOfOne":        {"a.txtar", "Shows it.\n-- requests --\n- {request: GET http://a.test/, want: {counts: {status: {\"200\": \"1\"}}}}\n", "how often"},
		"UnknownPlaceholder": {"a.txtar", "Shows it.\n-- run --\necho ${what}\n", "${what}"},
		"UnknownToken":       {"a.txtar", "Shows it.\n-- run --\necho ${token:alice}\n", "alice"},
		"UnknownImage":       {"a.txtar", "Shows it.\n-- setup --\napps: {c1/a: {image: ecko}}\n" + request, "ecko"},
		"StatusOfNothing":    {"a.txtar", "Shows it.\n-- status --\n- {tctl: ingressgateway gw}\n", "nothing is wanted"},
		"OutageOfNothing":    {"a.txtar", "Shows it.\n-- requests --\n- {request: GET http://a.test/, outage: 3s, want: 200}\n", "from begin to end"},
		"SharedAlone":        {"a.txtar", "Shows it.\n-- setup --\nalone: true\n-- apply tsb --\nkind: Cluster\nmetadata: {name: c1}\n", ""},
		"SharedByOthers":     {"a.txtar", "Shows it.\n-- apply tsb --\nkind: A\n---\nkind: OrganizationSetting\nmetadata: {name: a}\n", "alone: true"},
		"RefusedWithoutWhy":  {"a.txtar", "Shows it.\n-- refused --\nyaml: a\n", "what the message says"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(tc.file, []byte(tc.text))
			switch {
			case tc.says == "" && err != nil:
				t.Error(err)
			case tc.says != "" && (err == nil || !strings.Contains(err.Error(), tc.says)):
				t.Errorf("error %v, want one with %q", err, tc.says)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	answer := func(cluster string, status int) call.Answer {
		return call.Answer{Status: status, Headers: map[string][]string{"X-A": {"1", "2"}}, Protocol: "HTTP/2.0", Took: time.Second,
			Body: `{"app":"cart","cluster":"` + cluster + `","path":"/a","headers":{"x-b":"y"}}` + "\n"}
	}
	many := func(c1, c2 int) (all []call.Answer) {
		for range c1 {
			all = append(all, answer("c1", 200))
		}
		for range c2 {
			all = append(all, answer("c2", 429))
		}
		return all
	}
	for name, tc := range map[string]struct {
		want    Want
		answers []call.Answer
		says    string
	}{
		"Status":        {Want{Status: 200}, many(1, 0), ""},
		"WrongStatus":   {Want{Status: 200}, many(0, 1), "status 429, want 200"},
		"Header":        {Want{Headers: map[string]*string{"x-a": new("1,2")}}, many(1, 0), ""},
		"PartOfHeader":  {Want{Headers: map[string]*string{"x-a": new("~,2")}}, many(1, 0), ""},
		"WrongHeader":   {Want{Headers: map[string]*string{"x-a": new("1")}}, many(1, 0), "header x-a"},
		"MissingHeader": {Want{Headers: map[string]*string{"x-c": new("1")}}, many(1, 0), "is missing"},
		"NoHeader":      {Want{Headers: map[string]*string{"x-c": nil}}, many(1, 0), ""},
		"HeaderThere":   {Want{Headers: map[string]*string{"x-a": nil}}, many(1, 0), "must not be there"},
		"Got":           {Want{Got: &Got{Path: "/a", Headers: map[string]*string{"x-b": new("y"), "x-c": nil}}}, many(1, 0), ""},
		"GotOther":      {Want{Got: &Got{Path: "/b"}}, many(1, 0), `path "/a", want "/b"`},
		"Protocol":      {Want{HTTP: "1.1"}, many(1, 0), "protocol"},
		"Slow":          {Want{Faster: time.Millisecond}, many(1, 0), "at most"},
		"Quick":         {Want{Slower: time.Minute}, many(1, 0), "at least"},
		"Error":         {Want{Status: 200}, []call.Answer{{Error: "refused"}}, "no answer: refused"},
		"WantedError":   {Want{Fails: "refused"}, []call.Answer{{Error: "connection refused"}}, ""},
		"OtherError":    {Want{Fails: "refused"}, []call.Answer{{Error: "timeout"}}, "timeout"},
		"NoError":       {Want{Fails: "~"}, many(1, 0), "none is wanted"},
		"OneOfMany":     {Want{Status: 200}, many(3, 1), "answer 4 of 4"},
		"Share":         {Want{Share: map[string]map[string]float64{"cluster": {"c1": 90, "c2": 10}}}, many(175, 25), ""},
		"WrongShare":    {Want{Share: map[string]map[string]float64{"cluster": {"c1": 90, "c2": 10}}}, many(140, 60), `cluster "c1"`},
		"ShareOfOthers": {Want{Share: map[string]map[string]float64{"cluster": {"c1": 100}}}, many(199, 1), "c1"},
		"Counts":        {Want{Counts: map[string]map[string]string{"status": {"200": "9-10", "429": "5"}}}, many(10, 5), ""},
		"WrongCounts":   {Want{Counts: map[string]map[string]string{"status": {"200": "9-10"}}}, many(11, 5), "want 9-10"},
		"Distinct":      {Want{Distinct: map[string]int{"cluster": 2}}, many(1, 1), ""},
		"TooFew":        {Want{Distinct: map[string]int{"cluster": 2}}, many(2, 0), "1 different"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.want.judge(tc.answers)
			switch {
			case tc.says == "" && err != nil:
				t.Error(err)
			case tc.says != "" && (err == nil || !strings.Contains(err.Error(), tc.says)):
				t.Errorf("error %v, want one with %q", err, tc.says)
			}
		})
	}
}
