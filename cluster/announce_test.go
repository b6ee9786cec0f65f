package cluster

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/raft"
)

// Followers are told what is committed once, as soon as they hold it, and only of the
// term in which they acknowledged.
func TestAnnouncements(t *testing.T) {
	const term = 3
	// raft asks a follower for entries behind prev, up to last, and tells it of commit.
	request := func(term, prev, last, commit uint64) *raft.AppendEntriesRequest {
		args := &raft.AppendEntriesRequest{Term: term, PrevLogEntry: prev, PrevLogTerm: term, LeaderCommitIndex: commit}
		for i := prev + 1; i <= last; i++ {
			args.Entries = append(args.Entries, &raft.Log{Index: i, Term: term})
		}
		return args
	}
	exchange := func(a *announcer, args *raft.AppendEntriesRequest) {
		a.sent("n2", "at", args)
		a.acknowledged("n2", "at", args)
	}
	for _, tc := range []struct {
		name   string
		script func(a *announcer)
		want   string // "commit@prev/prevTerm" of each announcement
	}{
		{"committed after it was acknowledged", func(a *announcer) {
			exchange(a, request(term, 0, 5, 0))
			a.commit(5, term)
		}, "5@5/3"},
		{"acknowledged after it was committed", func(a *announcer) {
			a.commit(5, term)
			exchange(a, request(term, 0, 5, 0))
		}, "5@5/3"},
		{"each commit once", func(a *announcer) {
			exchange(a, request(term, 0, 5, 0))
			a.commit(5, term)
			synctest.Wait()
			a.commit(5, term)
			exchange(a, request(term, 5, 6, 5))
			synctest.Wait()
			a.commit(6, term)
		}, "5@5/3 6@6/3"},
		{"no further than the follower has come", func(a *announcer) {
			exchange(a, request(term, 0, 4, 0))
			a.commit(9, term)
			synctest.Wait()
			exchange(a, request(term, 4, 7, 0))
		}, "4@4/3 7@7/3"},
		{"raft has told it", func(a *announcer) {
			exchange(a, request(term, 0, 5, 0))
			exchange(a, request(term, 5, 6, 5))
			a.commit(5, term)
		}, ""},
		{"a round of raft without entries counts as acknowledged", func(a *announcer) {
			exchange(a, request(term, 5, 5, 4))
			a.commit(5, term)
		}, "5@5/3"},
		{"an entry of another term is committed: it may be another leader's", func(a *announcer) {
			exchange(a, request(term, 0, 5, 0))
			a.commit(5, term+1)
		}, ""},
		{"an entry of an earlier term is committed", func(a *announcer) {
			exchange(a, request(term, 0, 5, 0))
			a.commit(5, term-1)
		}, ""},
		{"an acknowledgement of an earlier term comes late", func(a *announcer) {
			exchange(a, request(term, 0, 5, 0))
			exchange(a, request(term-1, 0, 9, 0))
			a.commit(9, term)
		}, "5@5/3"},
		{"what a follower held in an earlier term is forgotten", func(a *announcer) {
			exchange(a, request(term-1, 0, 9, 0))
			a.sent("n2", "at", request(term, 9, 10, 0))
			a.commit(10, term)
		}, ""},
		{"a follower that has lost its log is told no more than it has now", func(a *announcer) {
			exchange(a, request(term, 0, 9, 0))
			exchange(a, request(term, 0, 2, 0))
			a.commit(9, term)
		}, "2@2/3"},
		{"nobody has acknowledged", func(a *announcer) { a.commit(5, term) }, ""},
		{"after the end", func(a *announcer) {
			exchange(a, request(term, 0, 5, 0))
			a.close()
			a.commit(5, term)
		}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got []string
				a := newAnnouncer(func(_ raft.ServerID, at raft.ServerAddress, args *raft.AppendEntriesRequest) error {
					if at != "at" || len(args.Entries) != 0 {
						t.Errorf("an announcement to %q with %d entries", at, len(args.Entries))
					}
					got = append(got, fmt.Sprintf("%d@%d/%d", args.LeaderCommitIndex, args.PrevLogEntry, args.PrevLogTerm))
					return nil
				})
				tc.script(a)
				synctest.Wait()
				a.close()
				if have := strings.Join(got, " "); have != tc.want {
					t.Errorf("announced %q, want %q", have, tc.want)
				}
			})
		})
	}
}

// One announcement to a follower is under way at a time; the next one says what was
// committed meanwhile. One that fails is raft's to repeat.
func TestAnnouncementsFollowEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan error)
		var told []uint64
		a := newAnnouncer(func(_ raft.ServerID, _ raft.ServerAddress, args *raft.AppendEntriesRequest) error {
			told = append(told, args.LeaderCommitIndex)
			return <-answer
		})
		a.acknowledged("n2", "at", &raft.AppendEntriesRequest{Term: 1, PrevLogEntry: 100, PrevLogTerm: 1})
		steps := []struct {
			commit uint64
			answer bool
			err    error
			want   string
		}{
			{commit: 1, want: "[1]"},
			{commit: 2, want: "[1]"},
			{commit: 3, want: "[1]"},
			{answer: true, want: "[1 3]"},
			{commit: 4, want: "[1 3]"},
			{answer: true, err: errors.New("lost"), want: "[1 3]"},
			{commit: 5, want: "[1 3 5]"},
			{answer: true, want: "[1 3 5]"},
		}
		for i, s := range steps {
			if s.answer {
				answer <- s.err
			} else {
				a.commit(s.commit, 1)
			}
			synctest.Wait()
			if got := fmt.Sprint(told); got != s.want {
				t.Fatalf("step %d: told %s, want %s", i+1, got, s.want)
			}
		}
		a.close()
	})
}
