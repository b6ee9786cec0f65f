package rpc

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"quicproquo/crypto/tlsid"
	"quicproquo/schemas"
)

// idleEnv makes the test binary the clients of BenchmarkIdleSubscriptions: the
// memory that is measured is the node's alone. Its value is the node's address, the
// number of connections, whether they subscribe, and a subscribe request; the CA
// comes first on the standard input.
const idleEnv = "QPQ_IDLE_CLIENTS"

// What a connection costs a node that has nothing to do for it: bare, and with an
// open subscribe (docs/performance.md). -benchtime 10000x opens as many.
func BenchmarkIdleSubscriptions(b *testing.B) {
	for _, subscribe := range []bool{false, true} {
		b.Run(fmt.Sprintf("subscribe=%v", subscribe), func(b *testing.B) { benchIdle(b, subscribe) })
	}
}

func benchIdle(b *testing.B, subscribe bool) {
	defer debug.SetGCPercent(debug.SetGCPercent(25)) // as a node does: cmd/internal/node
	node := newAccountNode(b)
	d := accountDoor{openDoor(b, NewServer(node, Options{ClusterKey: accountKEK, Limits: Limits{Rates: Off}})), node}
	ann := d.member(b, "ann")
	token := ann.Session().Token
	request := frameWith(b, subscribeMethod, nil, schemas.NewSubscribeParams, func(p schemas.SubscribeParams) error {
		auth, err := p.NewAuth()
		must(b, err)
		auth.SetVersion(schemas.AuthVersion)
		return auth.SetAccessToken(token[:])
	})
	before := resident(b)
	var stats runtime.MemStats
	child := exec.Command(os.Args[0], "-test.run=^TestIdleClients$", "-test.v")
	child.Env = append(os.Environ(), fmt.Sprintf("%s=%s,%d,%v,%s", idleEnv, d.address, b.N, subscribe, hex.EncodeToString(request)))
	child.Stderr = os.Stderr
	stdin, err := child.StdinPipe()
	must(b, err)
	stdout, err := child.StdoutPipe()
	must(b, err)
	must(b, child.Start())
	ca := d.identity.AuthoritiesPEM()
	_, err = fmt.Fprintf(stdin, "%s\n", hex.EncodeToString(ca))
	must(b, err)
	lines, ready := bufio.NewScanner(stdout), false
	said := ""
	for !ready && lines.Scan() {
		ready = strings.Contains(lines.Text(), "all are open")
		said = lines.Text()
	}
	if !ready {
		b.Fatalf("the clients ended early: %s", said)
	}
	if subscribe && d.server.Stats().Subscribes != int64(b.N) {
		b.Fatalf("%d subscriptions are open, want %d", d.server.Stats().Subscribes, b.N)
	}
	time.Sleep(2 * time.Second) // what the handshakes left goes
	after := resident(b)
	runtime.ReadMemStats(&stats)
	b.ReportMetric(float64(after-before)/1024/float64(b.N), "KiB/conn")
	b.ReportMetric(float64(stats.HeapInuse)/1024/float64(b.N), "heap-KiB/conn")
	b.ReportMetric(float64(stats.StackInuse)/1024/float64(b.N), "stack-KiB/conn")
	b.ReportMetric(float64(runtime.NumGoroutine())/float64(b.N), "goroutines/conn")
	b.ReportMetric(0, "ns/op")
	must(b, stdin.Close())
	_, _ = io.Copy(io.Discard, stdout)
	if err := child.Wait(); err != nil {
		b.Errorf("clients: %v", err)
	}
}

// resident is the process's resident memory, garbage aside, in bytes.
func resident(tb testing.TB) int {
	tb.Helper()
	for range 3 { // stacks shrink by half at a time
		runtime.GC()
	}
	debug.FreeOSMemory()
	statm, err := os.ReadFile("/proc/self/statm")
	must(tb, err)
	pages, err := strconv.Atoi(strings.Fields(string(statm))[1])
	must(tb, err)
	return pages * os.Getpagesize()
}

// TestIdleClients is not a test of its own: it is the other process of
// BenchmarkIdleSubscriptions.
func TestIdleClients(t *testing.T) {
	env := strings.Split(os.Getenv(idleEnv), ",")
	if len(env) != 4 {
		t.Skip("only for BenchmarkIdleSubscriptions")
	}
	stdin := bufio.NewReader(os.Stdin)
	line, err := stdin.ReadString('\n')
	must(t, err)
	ca, err := hex.DecodeString(strings.TrimSpace(line))
	must(t, err)
	config, err := tlsid.ClientDialConfig(ca, nil)
	must(t, err)
	config.ServerName = "127.0.0.1"
	addr, err := net.ResolveUDPAddr("udp", env[0])
	must(t, err)
	n, err := strconv.Atoi(env[1])
	must(t, err)
	request, err := hex.DecodeString(env[3])
	must(t, err)
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	transport := &quic.Transport{Conn: conn}
	turns := make(chan struct{}, 8)
	var dials sync.WaitGroup
	for range n {
		turns <- struct{}{}
		dials.Go(func() {
			defer func() { <-turns }()
			qc, err := transport.Dial(t.Context(), addr, config, &quic.Config{KeepAlivePeriod: 10 * time.Second, MaxIdleTimeout: time.Minute})
			if err != nil {
				fmt.Println("dial:", err)
				t.Fail()
				return
			}
			if env[2] == "true" {
				if err := idleSubscribe(t, qc, request); err != nil {
					fmt.Println("subscribe:", err)
					t.Fail()
				}
			}
		})
	}
	dials.Wait()
	if t.Failed() {
		t.FailNow()
	}
	fmt.Println("all are open")
	_, _ = io.Copy(io.Discard, stdin)
	_ = transport.Close()
	_ = conn.Close()
}

// idleSubscribe returns when the subscription is caught up.
func idleSubscribe(t *testing.T, qc *quic.Conn, request []byte) error {
	s, err := qc.OpenStreamSync(t.Context())
	if err != nil {
		return err
	}
	if _, err := s.Write(request); err != nil {
		return err
	}
	frame, err := schemas.ReadFrame(s, schemas.MaxResponse, nil)
	if err != nil {
		return err
	}
	if r := parseRaw(t, frame); r.failure.code != schemas.Code_ok {
		return errors.New(r.failure.message)
	}
	return nil
}
