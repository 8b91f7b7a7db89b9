// Ranks that do nothing but collectives, for tests of what happens when one of them is stopped or killed:
//   mpirun -np 3 dist_collective_loop SECONDS TIMEOUT_SECONDS PID_FOLDER
// Each rank writes its process id to PID_FOLDER/RANK once all have joined.
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "dist/world.h"
#include "ops/base/error.h"

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(std::atof(argv[1]));
  tsugi::World world({.timeout_seconds = std::atof(argv[2])});
  tsugi::Communicator& group = world.communicator();
  try {
    group.barrier();
    std::ofstream(std::string(argv[3]) + "/" + std::to_string(world.rank())) << getpid() << std::endl;
    std::vector<char> out(1 << 20);
    std::vector<char> in(out.size() * static_cast<size_t>(group.size()));
    bool more = true;
    while (more) {
      std::vector<tsugi::Transfer> sends;
      std::vector<tsugi::Transfer> receives;
      for (int peer = 0; peer < group.size(); ++peer) {
        sends.push_back({peer, out.data(), out.size()});
        receives.push_back({peer, in.data() + out.size() * static_cast<size_t>(peer), out.size()});
      }
      group.exchange(sends, receives)->wait();
      more = group.broadcast(std::chrono::steady_clock::now() < end ? "more" : "enough") == "more";
    }
  } catch (const tsugi::Error& error) {
    std::cerr << error.what() << "\n  hint: " << error.hint() << std::endl;
    world.abort(static_cast<int>(error.code()));
  }
  return 0;
}
