#include "launch/sweep/run_program.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <sstream>

#include "core/data/file.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr size_t kMostOutput = size_t{1} << 26;

/// One of the two ends that we read; what is beyond the limit is read and dropped, so that the program can end.
struct Pipe {
  int read = -1;
  int write = -1;

  Pipe() {
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) != 0) throw file_error("create", "a pipe");
    read = ends[0];
    write = ends[1];
  }
  ~Pipe() {
    if (read >= 0) close(read);
    if (write >= 0) close(write);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  /// False at the end.
  bool append_to(std::string& text) const {
    std::array<char, 65536> bytes{};
    const ssize_t count = ::read(read, bytes.data(), bytes.size());
    if (count < 0) return errno == EINTR || errno == EAGAIN;
    if (text.size() < kMostOutput) text.append(bytes.data(), static_cast<size_t>(count));
    return count > 0;
  }
};

void close_end(int& descriptor) {
  close(descriptor);
  descriptor = -1;
}

}  // namespace

bool have_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (access((folder + "/" + name).c_str(), X_OK) == 0) return true;
  }
  return false;
}

ProgramOutput run_program(const std::vector<std::string>& words) {
  if (!have_program(words.front())) {
    throw Error(ExitCode::kUsage, "there is no " + words.front() + " on the PATH",
                "this needs a login node of a Slurm cluster, or --dry-run");
  }
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  Pipe output;
  Pipe errors;
  const pid_t child = fork();
  if (child < 0) throw file_error("start", words.front());
  if (child == 0) {
    const int nothing = open("/dev/null", O_RDONLY);
    if (nothing < 0 || dup2(nothing, 0) < 0 || dup2(output.write, 1) < 0 || dup2(errors.write, 2) < 0) _exit(126);
    execvp(arguments[0], arguments.data());
    _exit(127);
  }
  close_end(output.write);
  close_end(errors.write);
  ProgramOutput result;
  while (output.read >= 0 || errors.read >= 0) {
    std::array<pollfd, 2> ends{pollfd{output.read, POLLIN, 0}, pollfd{errors.read, POLLIN, 0}};
    if (poll(ends.data(), ends.size(), -1) < 0 && errno != EINTR) throw file_error("read from", words.front());
    if (ends[0].revents != 0 && !output.append_to(result.output)) close_end(output.read);
    if (ends[1].revents != 0 && !errors.append_to(result.errors)) close_end(errors.read);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  result.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

}  // namespace tsugi
