// Ranks that do nothing but collectives, for tests of what happens when one of them is stopped or killed:
//   mpirun -np 3 dist_collective_loop SECONDS TIMEOUT_SECONDS PID_FOLDER memory|mpi [abort|leave|disagree]
// Each rank writes its process id to PID_FOLDER/RANK once all have joined. The ranks of a host talk by memory or over
// MPI. With a fifth argument rank 1 fails at its tenth exchange, while that is under way, with exit code 3; then it
// aborts the job, or just leaves. Or it skips that exchange, and goes on with what comes next.
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "dist/world.h"
#include "ops/base/error.h"

namespace {

void loop(tsugi::Communicator& group, double seconds, const std::string& failure) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  std::vector<char> out(1 << 20);
  std::vector<char> in(out.size() * static_cast<size_t>(group.size()));
  bool more = true;
  for (int round = 1; more; ++round) {
    std::vector<tsugi::Transfer> sends;
    std::vector<tsugi::Transfer> receives;
    for (int peer = 0; peer < group.size(); ++peer) {
      sends.push_back({peer, out.data(), out.size()});
      receives.push_back({peer, in.data() + out.size() * static_cast<size_t>(peer), out.size()});
    }
    const bool now = round == 10 && group.rank() == 1;
    if (!now || failure != "disagree") {
      const auto exchange = group.exchange(sends, receives);
      if (now && !failure.empty()) throw tsugi::Error(tsugi::ExitCode::kData, "shard 7 is damaged");
      exchange->wait();
    }
    more = group.broadcast(std::chrono::steady_clock::now() < end ? "more" : "enough") == "more";
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) return 2;
  const std::string failure = argc > 5 ? argv[5] : "";
  try {
    tsugi::World world({.timeout_seconds = std::atof(argv[2]), .host_memory = std::string(argv[4]) == "memory"});
    tsugi::Communicator& group = world.communicator();
    try {
      group.barrier();
      std::ofstream(std::string(argv[3]) + "/" + std::to_string(world.rank())) << getpid() << std::endl;
      loop(group, std::atof(argv[1]), failure);
    } catch (const tsugi::Error& error) {
      std::cerr << error.what() << "\n  hint: " << error.hint() << std::endl;
      if (failure != "leave") world.abort(static_cast<int>(error.code()));
      throw;
    }
  } catch (const tsugi::Error& error) {
    return static_cast<int>(error.code());
  }
  return 0;
}
