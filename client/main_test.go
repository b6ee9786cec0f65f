package client

import (
	"flag"
	"os"
	"runtime"
	"strconv"
	"testing"

	"go.uber.org/goleak"
)

// Child is what this program does instead of running tests where QPQ_TEST_CHILD is
// set: tests run themselves as processes that can be killed.
var Child func()

// No test of this package may leave a goroutine behind, but for those of the nodes
// that clusters of testcluster are made of: see the test main of package cluster.
func TestMain(m *testing.M) {
	if os.Getenv("QPQ_TEST_CHILD") != "" {
		Child()
		return
	}
	if err := twiceAsManyAtOnce(); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"),
		goleak.IgnoreAnyFunction("quicproquo/cluster.(*Node).answer.func1"))
}

// twiceAsManyAtOnce has more parallel tests run than there are processors, unless -parallel
// says how many: those on real clusters wait for three quarters of their time. In the race
// run, which is the short one, they do not.
func twiceAsManyAtOnce() error {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given || testing.Short() {
		return nil
	}
	return flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0)))
}
