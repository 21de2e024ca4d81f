package sqlite

// BeforeStatement has f called before each statement of a commit.
func (l *Log) BeforeStatement(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.step = f
}
