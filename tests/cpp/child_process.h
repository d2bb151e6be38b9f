// Runs a piece of a test in a forked child, so that it may change the environment, hang or crash.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

// ThreadSanitizer does not let the child of a threaded process start threads, and
// AddressSanitizer's leak check at exit looks there for threads that only the parent has.
#if defined(__has_feature)
#define CHILD_SANITIZER(name) __has_feature(name)
#else
#define CHILD_SANITIZER(name) 0
#endif
#if defined(__SANITIZE_THREAD__) || CHILD_SANITIZER(thread_sanitizer)
#define CHILD_MAY_START_THREADS 0
#else
#define CHILD_MAY_START_THREADS 1
#endif
#if defined(__SANITIZE_ADDRESS__) || CHILD_SANITIZER(address_sanitizer)
#define CHILD_MAY_EXIT 0
#else
#define CHILD_MAY_EXIT 1
#endif

constexpr int kThrew = 99;

// What `body` returns in the child (0 to 98), kThrew where it throws, or -N where signal N ended
// the child: SIGALRM when it took longer than `seconds`.
template <class Body>
int in_child(Body body, unsigned seconds = 60) {
  std::fflush(nullptr);  // or a child that calls exit() prints it again
  const pid_t child = fork();
  if (child == 0) {
    alarm(seconds);
    int code = kThrew;
    try {
      code = body();
    } catch (...) {
      code = kThrew;
    }
    _exit(code);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}
