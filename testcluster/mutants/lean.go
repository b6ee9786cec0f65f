package main

import (
	"os"
	"path/filepath"
	"regexp"
)

// external are the test files of a package that a row's tests need not have: those of
// the package beside it, NAME_test, if the tests are all of the package itself. Such
// files import much, as client's do whole clusters, so that a mutant costs many times
// as much with them. A TestMain among them is not missed: what it does for these tests
// that tests of the package itself need, their run on the code as it is would show.
func (u *runner) external(r *row) ([]string, error) {
	pattern, err := regexp.Compile(r.topLevel())
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(u.root, r.pkg, "*_test.go"))
	if err != nil {
		return nil, err
	}
	var outside []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if !externalClause.Match(text) {
			continue
		}
		for _, m := range testFunction.FindAllSubmatch(text, -1) {
			if pattern.MatchString(string(m[1])) {
				return nil, nil // they are needed
			}
		}
		outside = append(outside, file)
	}
	return outside, nil
}

var externalClause = regexp.MustCompile(`(?m)^package \w+_test$`)
