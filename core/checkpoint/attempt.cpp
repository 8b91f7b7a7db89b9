#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>

#include "core/checkpoint/checkpoint.h"
#include "core/checkpoint/run_directory.h"
#include "core/checkpoint/together.h"
#include "core/data/file.h"

namespace tsugi {
namespace {

void make_folders(const std::string& path) {
  std::error_code failure;
  std::filesystem::create_directories(path, failure);
  if (failure) throw Error(ExitCode::kInputOutput, "cannot create folder " + path + ": " + failure.message());
}

std::string generation_path(const std::string& directory, int64_t number) {
  return checkpoints_folder(directory) + "/generation-" + std::to_string(number);
}

/// Takes the first free number from `number` on. O_EXCL lets exactly one of two attempts at once have it.
int64_t take_generation(const std::string& directory, int64_t number) {
  for (;; ++number) {
    const std::string path = generation_path(directory, number);
    const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (descriptor < 0 && errno == EEXIST) continue;
    if (descriptor < 0) throw file_error("create", path);
    File(descriptor, path).finish();
    sync_folder(checkpoints_folder(directory));
    return number;
  }
}

}  // namespace

RunLease take_lease(Communicator& communicator, const std::string& directory) {
  const std::string number = on_rank_0(communicator, [&] {
    make_folders(checkpoints_folder(directory));
    sync_folder(directory);
    return std::to_string(take_generation(directory, survey_run(directory).last_generation + 1));
  });
  return {directory, std::stoll(number)};
}

void record_start(Communicator& communicator, const RunLease& lease, int64_t start_step) {
  on_rank_0(communicator, [&] {
    write_file_durably(generation_path(lease.directory, lease.generation),
                       generation_text({lease.generation, start_step}));
    return std::string();
  });
}

}  // namespace tsugi
