// WeightFolder on any index: an Error(kData), or files that are looked for in the folder alone.
#include <sys/stat.h>

#include "core/checkpoint/weight_folder.h"
#include "ops/base/error.h"
#include "tests/fuzz/fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tsugi;
  static const std::string folder = "/dev/shm/tsugi_fuzz_folder_" + std::to_string(::getpid());
  static const bool made = ::mkdir(folder.c_str(), 0700) == 0;
  CHECK(made) << folder;
  const std::string index = folder + "/" + kIndexFile;
  const int descriptor = ::open(index.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  PCHECK(descriptor >= 0) << index;
  PCHECK(::write(descriptor, data, size) == static_cast<ssize_t>(size)) << index;
  ::close(descriptor);
  try {
    WeightFolder weights(folder);
    for (const std::string& name : weights.names()) {
      try {
        std::string found;
        weights.file_with(name, found);
        LOG(FATAL) << "there is no such file: " << name;
      } catch (const Error& error) {
        CHECK(error.code() == ExitCode::kData) << error.what();
        CHECK(std::string(error.what()).find(folder + "/") != std::string::npos) << error.what();
      }
    }
  } catch (const Error& error) {
    CHECK(error.code() == ExitCode::kData) << error.what();
  }
  ::unlink(index.c_str());
  return 0;
}
