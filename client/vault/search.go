package vault

import (
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"quicproquo/crypto/confusable"
)

// searchTables index texts in their search form, which search_text keeps: what is
// taken out of the index is then what was put in, whatever becomes of the rules of
// the form. The forms of the messages that a vault of an earlier version has are
// made later, a few at a time (metaUnindexed).
const searchTables = `
DROP TRIGGER message_added;
DROP TRIGGER message_removed;
DROP TRIGGER message_changed;
DROP TABLE message_text;
CREATE TABLE search_text (seq INTEGER PRIMARY KEY, form TEXT NOT NULL) STRICT;
CREATE VIRTUAL TABLE search USING fts5(form, content='search_text', content_rowid='seq',
	tokenize="unicode61 remove_diacritics 0 categories 'L* M* N* So Co'");
INSERT INTO search (search, rank) VALUES ('secure-delete', 1);
CREATE TRIGGER search_added AFTER INSERT ON search_text BEGIN
	INSERT INTO search (rowid, form) VALUES (new.seq, new.form);
END;
CREATE TRIGGER search_removed AFTER DELETE ON search_text BEGIN
	INSERT INTO search (search, rowid, form) VALUES ('delete', old.seq, old.form);
END;
CREATE TRIGGER message_removed AFTER DELETE ON message BEGIN
	DELETE FROM search_text WHERE seq = old.seq;
	DELETE FROM reaction WHERE conversation = old.conversation AND message = old.id;
END;
CREATE TRIGGER message_changed AFTER UPDATE OF text ON message WHEN old.text <> new.text BEGIN
	DELETE FROM search_text WHERE seq = old.seq;
END;
INSERT INTO meta (name, value) SELECT 'unindexed', max(seq) + 1 FROM message HAVING max(seq) > 0;
`

// metaUnindexed is the place before which no text has its search form yet. Without
// it all have.
const metaUnindexed = "unindexed"

// addForm puts a text into the index, unless it is there.
func (tx *Tx) addForm(seq uint64, text string) error {
	if text == "" {
		return nil
	}
	return tx.run(`INSERT OR IGNORE INTO search_text (seq, form) VALUES (?, ?)`, seq, searchForm(text))
}

// Index puts at most so many texts into the index that an earlier version of this
// program has left out of it, the latest first. It reports whether there are more.
func (tx *Tx) Index(limit int) (more bool, err error) {
	var before uint64
	found, err := tx.one(`SELECT value FROM meta WHERE name = ?`, func(r *row) { before = r.uint64(0) }, metaUnindexed)
	if err != nil || !found {
		return false, err
	}
	var list []*Message
	err = tx.each(`SELECT seq, text FROM message WHERE seq < ? AND text <> '' ORDER BY seq DESC LIMIT ?`, func(r *row) error {
		list = append(list, &Message{Seq: r.uint64(0), Text: r.text(1)})
		return nil
	}, before, limit)
	if err != nil {
		return false, err
	}
	for _, m := range list {
		if err := tx.addForm(m.Seq, m.Text); err != nil {
			return false, err
		}
		before = m.Seq
	}
	if len(list) < limit {
		return false, tx.run(`DELETE FROM meta WHERE name = ?`, metaUnindexed)
	}
	return true, tx.run(`UPDATE meta SET value = ? WHERE name = ?`, before, metaUnindexed)
}

// MaxSearchWords limits the words of a search.
const MaxSearchWords = 100

// Search returns the latest entries whose text has all the words, each as a whole
// or as a beginning. Letters are compared without regard for case, accents, width
// and how they are composed. In scripts that put no spaces between words, and for
// emoji, a word is found in the middle of a run too. A query without a letter, digit
// or emoji finds nothing.
func (tx *Tx) Search(query string, limit int) (list []*Message, err error) {
	words := strings.Fields(query)
	if len(words) > MaxSearchWords {
		return nil, fmt.Errorf("a search takes %d words at most, not %d", MaxSearchWords, len(words))
	}
	var terms []string
	for _, word := range words {
		if form := searchForm(word); strings.ContainsFunc(form, indexed) {
			terms = append(terms, `"`+strings.ReplaceAll(form, `"`, ` `)+`"*`)
		}
	}
	if len(terms) == 0 {
		return nil, nil
	}
	err = tx.each(`SELECT `+messageColumns+` FROM message WHERE NOT deleted AND `+alive+` AND seq IN
		(SELECT rowid FROM search WHERE search MATCH ?) ORDER BY seq DESC LIMIT ?`, func(r *row) error {
		list = append(list, readMessage(r))
		return nil
	}, tx.now, strings.Join(terms, " "), limit)
	return list, err
}

// searchForm is what a text is found by: compatibility forms and cases folded, the
// accents of European scripts and what is not seen left out, spaces around each
// character that is a word or a part of one by itself.
func searchForm(text string) string {
	text = cases.Fold().String(norm.NFKD.String(text))
	text = strings.Map(func(r rune) rune {
		if r >= 0x300 && r <= 0x36F || confusable.Ignorable(r) {
			return -1
		}
		return r
	}, text)
	var b strings.Builder
	b.Grow(2 * len(text))
	alone := false // the last letter stands alone: its marks follow it, nothing else
	for _, r := range norm.NFKC.String(text) {
		if !unicode.IsMark(r) {
			now := standsAlone(r)
			if alone || now {
				b.WriteByte(' ')
			}
			alone = now
		}
		b.WriteRune(r)
	}
	return b.String()
}

// indexed reports whether a character is part of a word: the categories that
// searchTables names.
func indexed(r rune) bool {
	return unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.So, unicode.Co)
}

// standsAlone reports whether a character is a word of its own in the search form:
// in the scripts whose words have no spaces between them, and symbols. A word of
// several is found as a phrase.
func standsAlone(r rune) bool {
	if r < 0xA0 {
		return false
	}
	return r == 'ー' || unicode.In(r, unicode.So,
		unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Bopomofo, unicode.Yi, unicode.Nushu, unicode.Tangut,
		unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar, unicode.Tibetan, unicode.Javanese, unicode.Balinese, unicode.Cham,
		unicode.Tai_Le, unicode.New_Tai_Lue, unicode.Tai_Tham, unicode.Tai_Viet, unicode.Batak, unicode.Buginese, unicode.Rejang, unicode.Lisu)
}
