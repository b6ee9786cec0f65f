package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	goparser "go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
)

// compiler type-checks mutants without building anything: each takes milliseconds, so
// that every run of the tests can look at all rows. What a package needs of others
// comes from their export data, which the go command has from the build.
type compiler struct {
	root     string
	set      *token.FileSet
	packages map[string]*listed // by directory from the root, with slashes
	exports  map[string]string  // files of export data, by import path
	importer types.Importer
	parsed   map[string]*ast.File // files as they are
}

// listed is what go list says of a package.
type listed struct {
	Dir, ImportPath, Export string
	GoFiles                 []string
}

func newCompiler(root string) (*compiler, error) {
	cmd := exec.Command("go", "list", "-export", "-deps", "-json=Dir,ImportPath,Export,GoFiles", "./...")
	cmd.Dir = root
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &compiler{root: root, set: token.NewFileSet(), packages: map[string]*listed{}, exports: map[string]string{}, parsed: map[string]*ast.File{}}
	err = errors.Join(c.read(json.NewDecoder(out)), cmd.Wait())
	if err != nil {
		return nil, fmt.Errorf("go list -export: %w", err)
	}
	c.importer = importer.ForCompiler(c.set, "gc", c.open)
	return c, nil
}

func (c *compiler) read(from *json.Decoder) error {
	for {
		p := &listed{}
		switch err := from.Decode(p); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		c.exports[p.ImportPath] = p.Export
		if dir, err := filepath.Rel(c.root, p.Dir); err == nil {
			c.packages[filepath.ToSlash(dir)] = p
		}
	}
}

func (c *compiler) open(importPath string) (io.ReadCloser, error) {
	file := c.exports[importPath]
	if file == "" {
		return nil, fmt.Errorf("there is no export data of %s", importPath)
	}
	return os.Open(file)
}

// check returns why rows do not compile, by name. What other packages use of a mutated
// one is not looked at.
func (c *compiler) check(rows []row) (map[string]error, error) {
	wrong := map[string]error{}
	for len(rows) > 0 {
		var later []row
		rounds := map[string]map[string]*row{} // one row for each file, by package
		for i := range rows {
			r := &rows[i]
			dir := path.Dir(r.file)
			if rounds[dir] == nil {
				rounds[dir] = map[string]*row{}
			}
			if rounds[dir][path.Base(r.file)] != nil {
				later = append(later, *r)
				continue
			}
			rounds[dir][path.Base(r.file)] = r
		}
		for dir, mutated := range rounds {
			if err := c.checkPackage(dir, mutated, wrong); err != nil {
				return nil, err
			}
		}
		rows = later
	}
	return wrong, nil
}

// checkPackage checks a package with several of its files mutated, and puts what is
// wrong with the rows into wrong.
func (c *compiler) checkPackage(dir string, mutated map[string]*row, wrong map[string]error) error {
	p := c.packages[dir]
	if p == nil {
		return fmt.Errorf("%s is no package", dir)
	}
	var files []*ast.File
	rows := map[string]string{} // names of rows by the names of their files here
	for _, name := range p.GoFiles {
		file, err := c.parse(filepath.Join(p.Dir, name))
		if r := mutated[name]; r != nil {
			at := filepath.Join(p.Dir, r.name, name)
			rows[at] = r.name
			if changed, bad := c.mutant(r, at); bad != nil {
				wrong[r.name] = bad
			} else {
				file = changed
			}
		}
		if err != nil {
			return err
		}
		files = append(files, file)
	}
	failed := func(err error) {
		var at types.Error
		if !errors.As(err, &at) {
			return
		}
		if name := rows[at.Fset.Position(at.Pos).Filename]; name != "" && wrong[name] == nil {
			wrong[name] = err
		}
	}
	before := len(wrong)
	_, err := (&types.Config{Importer: c.importer, Error: failed}).Check(p.ImportPath, c.set, files, nil)
	if err != nil && len(wrong) == before {
		return fmt.Errorf("%s: %w", dir, err) // in a file that is as it was
	}
	return nil
}

func (c *compiler) mutant(r *row, at string) (*ast.File, error) {
	text, err := r.mutate(c.root)
	if err != nil {
		return nil, err
	}
	return goparser.ParseFile(c.set, at, text, goparser.SkipObjectResolution)
}

func (c *compiler) parse(name string) (*ast.File, error) {
	if file := c.parsed[name]; file != nil {
		return file, nil
	}
	file, err := goparser.ParseFile(c.set, name, nil, goparser.SkipObjectResolution)
	c.parsed[name] = file
	return file, err
}
