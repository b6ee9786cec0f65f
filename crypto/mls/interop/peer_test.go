package interop

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

const (
	// answerTimeout bounds one request: the slowest signs with P-521 in JavaScript.
	answerTimeout = time.Minute
	// maxAnswer bounds an answer line in bytes: a state is below 1 MiB at 6 members.
	maxAnswer = 16 << 20
)

// args are the arguments of a request.
type args map[string]any

// member is an occupied leaf as state shows it. Byte strings are hex here and below.
type member struct {
	Index        uint32 `json:"index"`
	Identity     string `json:"identity"`
	SignatureKey string `json:"signatureKey"`
}

// answer holds the fields of all answers; what an operation does not return is zero.
type answer struct {
	OK    bool   `json:"ok"`
	Error string `json:"error"`

	KeyPackage string  `json:"keyPackage"`
	GroupID    string  `json:"groupId"`
	Commit     string  `json:"commit"`
	Welcome    string  `json:"welcome"`
	GroupInfo  string  `json:"groupInfo"`
	Proposal   string  `json:"proposal"`
	Message    string  `json:"message"`
	Secret     string  `json:"secret"`
	State      string  `json:"state"`
	Epoch      uint64  `json:"epoch"`
	Kind       string  `json:"kind"`
	Plaintext  string  `json:"plaintext"`
	Sender     *uint32 `json:"sender"`

	EpochAuthenticator string   `json:"epochAuthenticator"`
	Members            []member `json:"members"`
}

// peer is a child process that speaks JSON lines. One goroutine at a time may use it.
type peer struct {
	stack    *stack
	identity string
	command  *exec.Cmd
	in       io.WriteCloser
	out      *bufio.Scanner
	broken   bool // it died or lost step: never reuse it
}

func (p *peer) String() string {
	name, _ := hex.DecodeString(p.identity)
	return fmt.Sprintf("%s (%s)", name, p.stack.name)
}

// start runs a peer's program.
func start(s *stack, program string, arguments ...string) (*peer, error) {
	command := exec.Command(program, arguments...)
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("open peer input: %w", err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("open peer output: %w", err)
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start peer: %w", err)
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, maxAnswer)
	return &peer{stack: s, command: command, in: in, out: lines}, nil
}

// stop ends the process and waits for it.
func (p *peer) stop() {
	_ = p.in.Close()
	kill := time.AfterFunc(answerTimeout, func() { _ = p.command.Process.Kill() })
	defer kill.Stop()
	_ = p.command.Wait() // a peer that failed has failed its test already
}

// errRefused wraps what a peer says when it answers with ok false.
var errRefused = errors.New("peer refused")

// ask sends a request and waits for its answer. The error wraps errRefused if the peer
// answered that it cannot; any other error means that the peer is gone.
func (p *peer) ask(op string, a args) (answer, error) {
	request := args{"op": op}
	for name, value := range a {
		request[name] = value
	}
	line, err := json.Marshal(request)
	if err != nil {
		return answer{}, fmt.Errorf("encode request: %w", err)
	}
	out, err := p.exchange(line)
	if err != nil {
		p.broken = true
		return answer{}, fmt.Errorf("%v: %s: %w", p, op, err)
	}
	if !out.OK {
		return out, fmt.Errorf("%v: %s: %w: %s", p, op, errRefused, out.Error)
	}
	return out, nil
}

func (p *peer) exchange(line []byte) (answer, error) {
	kill := time.AfterFunc(answerTimeout, func() { _ = p.command.Process.Kill() })
	defer kill.Stop()
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		return answer{}, fmt.Errorf("write request: %w", err)
	}
	if !p.out.Scan() {
		return answer{}, fmt.Errorf("read answer: peer ended or took longer than %v: %w", answerTimeout, errors.Join(io.ErrUnexpectedEOF, p.out.Err()))
	}
	var out answer
	if err := json.Unmarshal(p.out.Bytes(), &out); err != nil {
		return answer{}, fmt.Errorf("decode answer: %w", err)
	}
	return out, nil
}
