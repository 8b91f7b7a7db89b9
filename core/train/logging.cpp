#include "core/train/logging.h"

#include <fcntl.h>
#include <glog/logging.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "core/data/file.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

/// Writes each message as a line. glog holds its lock meanwhile: nothing here may log.
class FileSink : public google::LogSink {
 public:
  explicit FileSink(const std::string& path) {
    descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (descriptor_ < 0) throw file_error("open", path);
    // A line that a killed attempt left unfinished must not swallow the first of this one.
    struct stat status{};
    char last = '\n';
    if (::fstat(descriptor_, &status) == 0 && status.st_size > 0) {
      if (::pread(descriptor_, &last, 1, status.st_size - 1) == 1 && last != '\n') write("\n");
    }
    google::AddLogSink(this);
  }
  ~FileSink() override {
    google::RemoveLogSink(this);
    ::close(descriptor_);
  }

  void send(google::LogSeverity severity, const char* /*full_filename*/, const char* base_filename, int line,
            const google::LogMessageTime& time, const char* message, size_t length) override {
    write(ToString(severity, base_filename, line, time, message, length) + "\n");
  }
  using google::LogSink::send;

 private:
  void write(std::string_view text) {
    while (!text.empty()) {
      const ssize_t written = ::write(descriptor_, text.data(), text.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) {
        if (!warned_.exchange(true)) std::fprintf(stderr, "tsugi: cannot write the log: %s\n", std::strerror(errno));
        return;
      }
      text.remove_prefix(static_cast<size_t>(written));
    }
  }

  int descriptor_ = -1;
  std::atomic<bool> warned_{false};
};

std::string file_of(const std::string& run_directory, int rank) {
  const std::string folder = run_directory + "/logs";
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw Error(ExitCode::kInputOutput, "cannot create " + folder + ": " + error.message());
  char name[32];
  std::snprintf(name, sizeof name, "/rank-%05d.log", rank);
  return folder + name;
}

}  // namespace

struct RunLog::Impl {
  std::string path;
  std::unique_ptr<FileSink> sink;
  bool log_to_stderr = FLAGS_logtostderr;
  int least_level = FLAGS_minloglevel;
  int stderr_level = FLAGS_stderrthreshold;
};

RunLog::RunLog(const std::string& run_directory, int rank) : impl_(std::make_unique<Impl>()) {
  if (!run_directory.empty()) {
    impl_->path = file_of(run_directory, rank);
    impl_->sink = std::make_unique<FileSink>(impl_->path);
  }
  // Without a name glog writes no files of its own (it would, in /tmp).
  for (int severity = 0; severity < google::NUM_SEVERITIES; ++severity) {
    google::SetLogDestination(severity, "");
  }
  FLAGS_logtostderr = false;
  FLAGS_minloglevel = google::GLOG_INFO;
  FLAGS_stderrthreshold = rank == 0 ? google::GLOG_WARNING : google::GLOG_ERROR;
}

RunLog::~RunLog() {
  FLAGS_logtostderr = impl_->log_to_stderr;
  FLAGS_minloglevel = impl_->least_level;
  FLAGS_stderrthreshold = impl_->stderr_level;
}

const std::string& RunLog::path() const { return impl_->path; }

}  // namespace tsugi
