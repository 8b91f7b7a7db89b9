// What do messages between ranks cost?
//   mpirun -np 2 benchmark_communicator [--json] [--over_mpi]
// --over_mpi: ranks of a host use MPI, as those of several hosts do, instead of reading each other's memory.
// Bandwidth of an exchange in which every rank sends every other one some megabytes, latency of a small all_gather,
// and the processor time that waiting takes.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "dist/world.h"
#include "ops/tensor/memory.h"

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double processor_seconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// Bytes per second that each rank sends (and as many that it receives).
double exchange_bandwidth(tsugi::Communicator& group, size_t bytes, int in_flight, int rounds) {
  const auto peers = static_cast<size_t>(group.size() - 1);
  const size_t total = bytes * peers * static_cast<size_t>(in_flight);
  tsugi::HeapMemory heap;
  const std::shared_ptr<tsugi::Storage> out = heap.allocate(total), in = heap.allocate(total);
  std::memset(out->data, 'o', total);
  std::memset(in->data, 'i', total);
  double start = 0.0;
  for (int round = 0; round <= rounds; ++round) {
    if (round == 1) {
      group.barrier();
      start = now();
    }
    std::vector<std::unique_ptr<tsugi::Pending>> pending;
    size_t offset = 0;
    for (int bucket = 0; bucket < in_flight; ++bucket) {
      std::vector<tsugi::Transfer> sends;
      std::vector<tsugi::Transfer> receives;
      for (int peer = 0; peer < group.size(); ++peer) {
        if (peer == group.rank()) continue;
        sends.push_back({peer, out->data + offset, bytes});
        receives.push_back({peer, in->data + offset, bytes});
        offset += bytes;
      }
      pending.push_back(group.exchange(sends, receives));
    }
    for (const auto& exchange : pending) exchange->wait();
  }
  return static_cast<double>(total) * rounds / (now() - start);
}

double small_all_gather_seconds(tsugi::Communicator& group, int rounds) {
  group.barrier();
  const double start = now();
  for (int round = 0; round < rounds; ++round) group.all_gather_strings("12345678");
  return (now() - start) / rounds;
}

/// Processor seconds per second of waiting for the last rank.
double cost_of_waiting(tsugi::Communicator& group, double seconds) {
  group.barrier();
  if (group.rank() == group.size() - 1) std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  const double start = processor_seconds();
  const double begin = now();
  group.barrier();
  return (processor_seconds() - start) / (now() - begin);
}

}  // namespace

int main(int argc, char** argv) {
  const auto has = [&](std::string_view flag) { return std::find(argv + 1, argv + argc, flag) != argv + argc; };
  const bool json = has("--json");
  tsugi::World world({.host_memory = !has("--over_mpi")});
  tsugi::Communicator& group = world.communicator();
  if (group.size() < 2) {
    std::fprintf(stderr, "usage: mpirun -np 2 %s [--json] [--over_mpi]\n", argv[0]);
    return 2;
  }
  const double waiting = cost_of_waiting(group, 2.0);
  const double latency = small_all_gather_seconds(group, 2000);
  const double bandwidth_25m = exchange_bandwidth(group, 25 << 20, 1, 20);
  const double bandwidth_25m_4 = exchange_bandwidth(group, 25 << 20, 4, 10);
  const double bandwidth_1m = exchange_bandwidth(group, 1 << 20, 1, 200);
  if (group.rank() == 0) {
    const char* form = json
                           ? "{\"ranks\": %d, \"gb_per_s_25mib\": %.3f, \"gb_per_s_25mib_4_in_flight\": %.3f, "
                             "\"gb_per_s_1mib\": %.3f, \"all_gather_us\": %.1f, \"waiting_cpu\": %.4f}\n"
                           : "%d ranks; each sends and receives 25 MiB per peer at %.2f GB/s, four of these at once at "
                             "%.2f GB/s, 1 MiB at %.2f GB/s\nsmall all_gather %.1f us; waiting takes %.4f of a core\n";
    std::printf(form, group.size(), bandwidth_25m * 1e-9, bandwidth_25m_4 * 1e-9, bandwidth_1m * 1e-9, latency * 1e6,
                waiting);
  }
  return 0;
}
