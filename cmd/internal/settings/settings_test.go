package settings

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// A flag counts before the environment, that before the files in their order, that
// before the default; an empty variable counts as none.
func TestFill(t *testing.T) {
	first, err := ReadFile(write(t, "log-store = \"first\"\nlist = [\"a\", \"b\"]\nnumber = 7\nother = 1"), true)
	if err != nil {
		t.Fatal(err)
	}
	second, err := ReadFile(write(t, "log-store = \"second\"\nlast = \"second\""), true)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, flag, env string
		want            string
	}{
		{"file", "", "", "first"}, {"environment", "", "env", "env"}, {"flag", "flag", "env", "flag"},
	} {
		flags := pflag.NewFlagSet("x", pflag.ContinueOnError)
		store, last, number := flags.String("log-store", "default", ""), flags.String("last", "default", ""), flags.Int("number", 1, "")
		list, none := flags.StringArray("list", nil, ""), flags.String("none", "default", "")
		t.Setenv("X_LOG_STORE", c.env)
		if c.flag != "" {
			if err := flags.Parse([]string{"--log-store", c.flag}); err != nil {
				t.Fatal(err)
			}
		}
		source := Source{EnvPrefix: "X_", Help: "x --help", Known: func(key string) bool { return key == "other" }}
		if err := source.Fill(flags, first, second); err != nil {
			t.Fatal(err)
		}
		if *store != c.want || *last != "second" || *number != 7 || strings.Join(*list, ",") != "a,b" || *none != "default" {
			t.Errorf("%s: %q, %q, %d, %q, %q", c.name, *store, *last, *number, *list, *none)
		}
	}
}

// A setting that nobody knows, or that can't be read, is an error that names it.
func TestBadSettings(t *testing.T) {
	t.Setenv("X_NUMBER", "")
	for text, want := range map[string]string{
		"unknown = 1": `unknown setting "unknown": ` + "`x --help`", "number = \"seven\"": "number: ", "number = [\"1\", \"x\"]": "number: ",
	} {
		file, err := ReadFile(write(t, text), true)
		if err != nil {
			t.Fatal(err)
		}
		flags := pflag.NewFlagSet("x", pflag.ContinueOnError)
		flags.Int("number", 1, "")
		if err := (Source{EnvPrefix: "X_", Help: "x --help"}).Fill(flags, file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, expected %q", text, err, want)
		}
	}
	t.Setenv("X_NUMBER", "seven")
	flags := pflag.NewFlagSet("x", pflag.ContinueOnError)
	flags.Int("number", 1, "")
	if err := (Source{EnvPrefix: "X_"}).Fill(flags); err == nil || !strings.Contains(err.Error(), "environment X_NUMBER: ") {
		t.Errorf("a bad variable: %v", err)
	}
	if _, err := ReadFile(write(t, "= 1"), false); err == nil || !strings.Contains(err.Error(), "read configuration") {
		t.Errorf("no TOML: %v", err)
	}
	missing := filepath.Join(t.TempDir(), "missing")
	if _, err := ReadFile(missing, true); err == nil {
		t.Error("a required file that is missing is taken")
	}
	if file, err := ReadFile(missing, false); err != nil || file.Name != missing || file.Values != nil {
		t.Errorf("a file that is missing: %+v %v", file, err)
	}
}
