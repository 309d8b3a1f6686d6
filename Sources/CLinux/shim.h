// Linux system calls and constants that the Glibc module does not import.
#pragma once
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <spawn.h>

// POSIX_SPAWN_SETSID is a glibc extension that the Glibc module leaves out.
static inline short p2pfs_spawn_setsid(void) {
#ifdef POSIX_SPAWN_SETSID
  return POSIX_SPAWN_SETSID;
#else
  return 0x80;
#endif
}
