package chaos

import (
	"context"
	"math/rand/v2"

	"quicproquo/client/conn"
	"quicproquo/schemas"
)

// sessions are opened on one node, used on another, and ended on a third: a session
// that was ended lets nobody in, on any node that has been told so much.
type sessions struct {
	w  *world
	me *account
}

func newSessions(ctx context.Context, w *world) (*sessions, error) {
	me, err := w.enroll(ctx, "visitor")
	return &sessions{w, me}, err
}

func (s *sessions) name() string { return "session" }

func (s *sessions) run(ctx, _ context.Context) {
	rng := rand.New(rand.NewPCG(s.w.options.Seed, 4))
	for ctx.Err() == nil {
		s.visit(ctx, rng)
		sleep(ctx, 30*s.w.options.Pace)
	}
}

// visit is one session, from its opening to its end.
func (s *sessions) visit(ctx context.Context, rng *rand.Rand) {
	door := s.me.conn(rng.IntN(len(s.me.conns)))
	who := conn.Credentials{Username: s.me.name, Password: append([]byte(nil), password...), Account: s.me.id(), Key: s.me.key}
	short, cancel := context.WithTimeout(ctx, 2*callTime)
	done := s.w.call(s.me.name, "log in")
	session, _, err := door.Login(short, who)
	done(err)
	cancel()
	s.w.ops.Add(1)
	if err != nil {
		return // the cluster is away; next time
	}
	s.w.wrote()
	if err := s.look(ctx, s.me.conn(rng.IntN(len(s.me.conns))), session); refusesToken(err) {
		s.w.violation(s.name(), "a session that was opened is refused: %v", err)
	}
	exit := s.me.conn(rng.IntN(len(s.me.conns)))
	exit.SetSession(session)
	short, cancel = context.WithTimeout(ctx, callTime)
	done = s.w.call(s.me.name, "log out")
	_, err = exit.Logout(short, false)
	done(err)
	cancel()
	s.w.ops.Add(1)
	if err != nil {
		return // it may have ended or not
	}
	s.w.wrote()
	for i := range s.me.conns {
		if err := s.look(ctx, s.me.conn(i), session); err == nil {
			s.w.unauthorized.Add(1)
			s.w.violation(s.name(), "a session that was ended is let in by node %s", s.w.target.name(i))
		}
	}
}

func (s *sessions) look(ctx context.Context, caller *conn.Conn, session *conn.Session) error {
	caller.SetSession(session)
	defer caller.SetSession(nil)
	short, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	done := s.w.call(s.me.name, "whoami")
	_, err := caller.Whoami(short)
	done(err)
	s.w.ops.Add(1)
	return err
}

func refusesToken(err error) bool {
	return conn.Is(err, schemas.Code_tokenInvalid) || conn.Is(err, schemas.Code_tokenExpired) || conn.Is(err, schemas.Code_tokenMissing)
}

func (s *sessions) check(context.Context, *Summary) {}
