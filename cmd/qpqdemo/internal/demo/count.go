package demo

import (
	"context"
	"fmt"
	"sync"

	"quicproquo/client"
)

// Report is what was counted. Its JSON fields stay.
type Report struct {
	Nodes int    `json:"nodes"`
	Suite string `json:"suite"`
	// Sent is how many messages were acknowledged by the cluster; Delivered how many
	// times one of them reached an application, over all its recipients; Lost how many
	// times one did not; Duplicates how many times one came again.
	Sent       int `json:"sent"`
	Delivered  int `json:"delivered"`
	Lost       int `json:"lost"`
	Duplicates int `json:"duplicates"`
	// FailoverMs is the time from the kill of the leader to the next acknowledged
	// message.
	FailoverMs              int64 `json:"failoverMs"`
	RemovedMemberReadLater  bool  `json:"removedMemberReadLater"`
	OK                      bool  `json:"ok"`
	expected, tried, opened int
}

// said is a message and how often each recipient's application got it.
type said struct {
	by  *person
	in  *client.Conversation
	got map[*person]int
}

// ledger notes what was said and what arrived. mu guards all.
type ledger struct {
	mu      sync.Mutex
	said    map[string]*said // by text: every text is said once
	strange int              // texts that reached somebody whom they were not for
}

// next returns the text of a new message.
func (l *ledger) next(by *person, in *client.Conversation, to []*person) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.said == nil {
		l.said = map[string]*said{}
	}
	text := fmt.Sprintf("message %d, by %s", len(l.said)+1, by.name)
	s := &said{by: by, in: in, got: map[*person]int{}}
	for _, p := range to {
		s.got[p] = 0
	}
	l.said[text] = s
	return text
}

// arrived notes what an application got.
func (l *ledger) arrived(p *person, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.said[text]
	if s == nil {
		l.strange++
		return
	}
	if _, meant := s.got[p]; !meant {
		l.strange++
		return
	}
	s.got[p]++
}

// count is how many messages there are.
func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.said)
}

// missing is how many receptions are still due.
func (l *ledger) missing() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.said {
		for _, times := range s.got {
			if times == 0 {
				n++
			}
		}
	}
	return n
}

// consumer is the name under which the demo reads events.
const consumer = "demo"

// collect takes the events that the clients have for their applications.
func (d *demo) collect() error {
	for _, p := range d.people {
		for e, err := range p.Consume(consumer) {
			if err != nil {
				return err
			}
			if e.Kind == client.EventMessage && e.Entry != nil && !e.Entry.Mine {
				d.log.arrived(p, e.Entry.Text)
			}
		}
	}
	return nil
}

// acknowledged counts the messages that the cluster has acknowledged, as their
// senders know it.
func (d *demo) acknowledged() (n int, err error) {
	for _, p := range d.people {
		for _, v := range []*client.Conversation{p.dm, p.group} {
			if v == nil {
				continue
			}
			list, err := v.History(0, MaxMessages*2)
			if err != nil {
				return 0, err
			}
			for i := range list {
				switch list[i].Status {
				case "sent", "delivered", "read":
					n++
				}
			}
		}
	}
	return n, nil
}

// count fills the report.
func (d *demo) count(context.Context) error {
	if err := d.collect(); err != nil {
		return err
	}
	var err error
	r := &d.report
	if r.Sent, err = d.acknowledged(); err != nil {
		return err
	}
	d.log.mu.Lock()
	defer d.log.mu.Unlock()
	for _, s := range d.log.said {
		for _, times := range s.got {
			r.expected++
			if times == 0 {
				r.Lost++
				continue
			}
			r.Delivered++
			r.Duplicates += times - 1
		}
	}
	r.OK = r.Lost == 0 && r.Duplicates == 0 && d.log.strange == 0 && r.Sent == len(d.log.said) &&
		r.tried > 0 && r.opened == 0 && !r.RemovedMemberReadLater
	d.tell("counted: %d messages acknowledged, %d of %d receptions, %d twice, %d by the wrong one",
		r.Sent, r.Delivered, r.expected, r.Duplicates, d.log.strange)
	return nil
}

// String is the verdict for people.
func (r Report) String() string {
	read := "can't read what was said after she was removed"
	if r.RemovedMemberReadLater {
		read = "READ what was said after she was removed"
	}
	verdict := "All is well: nothing was lost, nothing came twice, and the leader's death cost " + fmt.Sprintf("%.1f s.", float64(r.FailoverMs)/1000)
	if !r.OK {
		verdict = "SOMETHING IS WRONG: see above."
	}
	return fmt.Sprintf(`nodes       %d
MLS suite   %s (post-quantum)
sent        %d messages, each acknowledged by a majority's disks
delivered   %d of %d receptions
lost        %d
duplicates  %d
failover    %d ms from SIGKILL to the next acknowledged message
carol       %s

%s`, r.Nodes, r.Suite, r.Sent, r.Delivered, r.expected, r.Lost, r.Duplicates, r.FailoverMs, read, verdict)
}
