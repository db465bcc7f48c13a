package store

func writeUntilKilled(dir string) {}
