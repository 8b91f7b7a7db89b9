// Gives one target every file of a folder, without libFuzzer: fuzz_replay TARGET FOLDER. Each file has 10 seconds and,
// unless a sanitizer needs the address space for itself, the program 2 GiB.
#include <sys/resource.h>

#include <filesystem>
#include <iostream>

#include "core/data/file.h"
#include "tests/fuzz/fuzzing.h"

int main(int argc, char** argv) {
  using namespace tsugi;
  CHECK_EQ(argc, 3) << "usage: " << argv[0] << " TARGET FOLDER";
  const fuzzing::Target& target = fuzzing::find_target(argv[1]);
#ifndef TSUGI_SANITIZED
  constexpr rlimit kMemory{rlim_t{1} << 31, rlim_t{1} << 31};
  PCHECK(::setrlimit(RLIMIT_AS, &kMemory) == 0);
#endif
  int files = 0;
  for (const std::string& path : match_paths(std::string(argv[2]) + "/*")) {
    const std::string content = read_file(path, int64_t{1} << 24);
    std::cout << path << std::endl;  // flushed: the last one is the one that failed
    ::alarm(10);
    target.run({reinterpret_cast<const uint8_t*>(content.data()), content.size()});
    ::alarm(0);
    ++files;
  }
  std::cout << files << " files\n";
}
