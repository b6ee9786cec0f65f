package interop

import (
	"encoding/hex"
	"slices"
	"strconv"
)

// scenario is one conversation. It runs for every suite, over both wire formats and with
// the roles swapped: a and b are the two stacks of a pair.
type scenario struct {
	name string
	run  func(r *room, a, b *stack)
}

func scenarios() []scenario {
	return []scenario{
		{"join by welcome, talk both ways", joinByWelcome},
		{"updates both ways", updates},
		{"adds both ways, several at once", adds},
		{"removes both ways, leaves reused", removes},
		{"proposals by reference both ways", byReference},
		{"messages out of order and from the last epoch", outOfOrder},
		{"save and load in mid-conversation", saveAndLoad},
		{"external joins both ways", externalJoins},
		{"join with an external psk", joinWithPSK},
		{"join by bare structs", joinByBareStructs},
	}
}

func joinByWelcome(r *room, a, b *stack) {
	first, second := r.person(a), r.person(b)
	r.create(first)
	r.add(first, second)
	r.talkAll()
	message := r.must(first, "encrypt", args{"plaintext": "01"}).Message
	r.must(second, "process", args{"message": message})
	r.refuses(second, "process", args{"message": message}, "") // a replay
	r.sees(first, first, r.must(first, "process", args{"message": message}), "echo")
	r.talkAll()
}

func updates(r *room, a, b *stack) {
	first, second, third := r.person(a), r.person(b), r.person(a)
	r.group(first, second, third)
	for range 2 {
		for _, p := range r.members {
			r.update(p)
			r.talk()
		}
	}
}

func adds(r *room, a, b *stack) {
	first, second := r.person(a), r.person(b)
	r.group(first, second)
	r.add(second, r.person(a))
	r.update(first)
	r.add(first, r.person(b), r.person(a))
	r.update(second)
	r.add(second, r.person(b))
	r.talk()
}

func removes(r *room, a, b *stack) {
	people := []*peer{r.person(a), r.person(b), r.person(a), r.person(b), r.person(a), r.person(b)}
	r.group(people...)
	for _, p := range people[:4] {
		r.update(p)
	}
	r.remove(people[0], people[2], people[3])
	r.talk()
	r.remove(people[1], people[4], people[0])
	r.talk()
	r.add(people[5], r.person(a), r.person(a))
	r.update(people[5])
	r.talk()
	for _, by := range people[:2] {
		if slices.Contains(r.members, by) && !by.stack.pathNeedsTwo {
			r.remove(by, people[5])
			r.talk()
		}
	}
}

func byReference(r *room, a, b *stack) {
	first, second, third, fourth := r.person(a), r.person(b), r.person(a), r.person(b)
	r.group(first, second, third, fourth)
	for _, turn := range [][2]*peer{{first, second}, {second, first}} {
		proposer, committer := turn[0], turn[1]
		newcomer := r.person(proposer.stack)
		r.propose(proposer, args{"kind": "add", "keyPackage": r.must(newcomer, "keyPackage", nil).KeyPackage})
		r.commit(committer, args{"byReference": true}, []*peer{newcomer}, nil)
		r.talk()
		if committer.stack.pathToOldLeaves {
			continue
		}
		r.propose(proposer, args{"kind": "update"})
		r.commit(committer, args{"byReference": true}, nil, nil)
		r.talk()
	}
	gone := []*peer{third, fourth}
	for _, p := range gone {
		r.propose(first, args{"kind": "remove", "removed": r.leaf(p)})
	}
	r.commit(second, args{"byReference": true}, nil, gone)
	r.talk()
}

// How many messages arrive in reverse: more than the retention some stacks have by default.
const reordered = 12

func outOfOrder(r *room, a, b *stack) {
	first, second := r.person(a), r.person(b)
	r.group(first, second)
	for _, turn := range [][2]*peer{{first, second}, {second, first}} {
		sender, reader := turn[0], turn[1]
		var messages []string
		for i := range reordered {
			text := hex.EncodeToString([]byte(strconv.Itoa(i)))
			messages = append(messages, r.must(sender, "encrypt", args{"plaintext": text}).Message)
		}
		late := messages[0]
		for i := reordered - 1; i > 0; i-- {
			r.reads(reader, sender, messages[i], hex.EncodeToString([]byte(strconv.Itoa(i))))
		}
		r.update(reader) // the first message now comes from a past epoch
		r.reads(reader, sender, late, hex.EncodeToString([]byte("0")))
		r.talk()
	}
}

func saveAndLoad(r *room, a, b *stack) {
	first, second, third := r.person(a), r.person(b), r.person(b)
	r.group(first, second)
	before := r.must(second, "encrypt", args{"plaintext": "beef"}).Message
	r.propose(second, args{"kind": "add", "keyPackage": r.must(third, "keyPackage", nil).KeyPackage})
	for _, p := range []*peer{first, second, third} {
		r.reload(p)
	}
	r.reads(first, second, before, "beef")
	r.commit(first, args{"byReference": true}, []*peer{third}, nil)
	r.talk()
	for _, p := range r.members {
		r.reload(p)
		r.update(p)
		r.talk()
	}
}

func externalJoins(r *room, a, b *stack) {
	first, second := r.person(a), r.person(b)
	r.group(first, second)
	r.externalJoin(r.person(b), first)
	r.talk()
	r.externalJoin(r.person(a), second)
	r.update(second)
	r.talk()
}

func joinWithPSK(r *room, a, b *stack) {
	first, second := r.person(a), r.person(b)
	r.create(first)
	psk := []args{{"id": "70736b", "secret": "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a"}}
	r.commit(first, args{"psk": psk}, []*peer{second}, nil)
	r.talk()
	// Both know it now: it can enter a commit among members.
	r.commit(second, args{"psk": psk}, nil, nil)
	r.talk()
}

// messageHeader is the hex length of an MLSMessage's version and wire format.
const messageHeader = 8

// Key packages and welcomes are also taken without the MLSMessage around them.
func joinByBareStructs(r *room, a, b *stack) {
	first, second := r.person(a), r.person(b)
	r.create(first)
	kp := r.must(second, "keyPackage", nil).KeyPackage
	out := r.must(first, "commit", args{"add": []string{kp[messageHeader:]}})
	r.must(second, "join", args{"welcome": out.Welcome[messageHeader:]})
	r.members = append(r.members, second)
	r.agree()
	r.talk()
}
