// The world and its communicator over real MPI: run by mpirun with several numbers of ranks.
//
// Every rank runs all tests, so a test makes the same collective calls on every rank whatever it finds. Flags beside
// those of GoogleTest: --over_mpi (ranks of a host do not read each other's memory), --two_hosts (emulated: even ranks
// and odd ones), --largest_message=BYTES.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/uio.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <ctime>
#include <numeric>
#include <ranges>
#include <string>
#include <thread>

#include "dist/affinity.h"
#include "dist/world.h"
#include "ops/base/error.h"
#include "tests/dist/reducer_steps.h"

namespace tsugi {
namespace {

using testing::assemble;
using testing::CpuContext;
using ::testing::HasSubstr;
using testing::run_step;
using testing::same_bits;
using testing::tree_sum;

World* world = nullptr;
bool may_read_memory = true;
int hosts = 1;

Communicator& group() { return world->communicator(); }

/// The bytes that rank `from` sends to rank `to` as message `index`, and how many.
char pattern(int from, int to, int index, size_t i) {
  return static_cast<char>(static_cast<size_t>(31 * from + 7 * to + 3 * index) + i * 131 + i / 251);
}
size_t message_bytes(int from, int to, int index) {
  const size_t sizes[] = {0, 1, 4096, 100003, 65536, 3, 1000000, 0, 12345};
  return sizes[static_cast<size_t>(2 * from + 3 * to + index) % std::size(sizes)];
}

TEST(Mpi, ExchangesOfUnequalSizesManyAtOnce) {
  struct Round {
    std::vector<std::vector<char>> out, in;
    std::vector<Transfer> sends, receives;
    std::unique_ptr<Pending> pending;
  };
  const int me = group().rank();
  std::vector<Round> rounds(20);
  int index = 0;
  for (Round& round : rounds) {
    for (int copy = 0; copy < 2; ++copy, ++index) {  // two messages for every pair: they match in order
      for (int peer = 0; peer < group().size(); ++peer) {
        round.out.emplace_back(message_bytes(me, peer, index));
        for (size_t i = 0; i < round.out.back().size(); ++i) round.out.back()[i] = pattern(me, peer, index, i);
        round.in.emplace_back(message_bytes(peer, me, index), '?');
        round.sends.push_back({peer, round.out.back().data(), round.out.back().size()});
        round.receives.push_back({peer, round.in.back().data(), round.in.back().size()});
      }
    }
  }
  for (Round& round : rounds) round.pending = group().exchange(round.sends, round.receives);
  for (Round& round : std::views::reverse(rounds)) round.pending->wait();  // in any order
  index = 0;
  size_t wrong = 0;
  for (Round& round : rounds) {
    size_t message = 0;
    for (int copy = 0; copy < 2; ++copy, ++index) {
      for (int peer = 0; peer < group().size(); ++peer, ++message) {
        for (size_t i = 0; i < round.in[message].size(); ++i) {
          wrong += round.in[message][i] != pattern(peer, me, index, i);
        }
      }
    }
  }
  EXPECT_EQ(wrong, 0u);
}

TEST(Mpi, AllGather) {
  std::vector<size_t> offsets{0};
  for (int r = 0; r < group().size(); ++r) offsets.push_back(offsets.back() + static_cast<size_t>(r * 300007));
  std::vector<char> buffer(offsets.back(), '?');
  const auto me = static_cast<size_t>(group().rank());
  for (size_t i = offsets[me]; i < offsets[me + 1]; ++i) buffer[i] = pattern(group().rank(), 0, 0, i);
  group().all_gather(buffer.data(), offsets)->wait();
  size_t wrong = 0;
  for (int r = 0; r < group().size(); ++r) {
    for (size_t i = offsets[r]; i < offsets[r + 1]; ++i) wrong += buffer[i] != pattern(r, 0, 0, i);
  }
  EXPECT_EQ(wrong, 0u);
}

TEST(Mpi, StringsBroadcastAndSums) {
  for (const size_t bytes : {0, 5, 300, 3000000}) {
    const std::vector<std::string> all =
        group().all_gather_strings(std::string(bytes, static_cast<char>('a' + group().rank())));
    for (int r = 0; r < group().size(); ++r) {
      EXPECT_EQ(all[static_cast<size_t>(r)], std::string(bytes, static_cast<char>('a' + r)));
    }
    for (int root = 0; root < group().size(); ++root) {
      const std::string mine(bytes, static_cast<char>('A' + group().rank()));
      EXPECT_EQ(group().broadcast(mine, root), std::string(bytes, static_cast<char>('A' + root)));
    }
  }
  const int n = group().size();
  EXPECT_EQ(all_reduce_sum(group(), {1.0, static_cast<double>(group().rank())}),
            (std::vector<double>{static_cast<double>(n), n * (n - 1) / 2.0}));
  EXPECT_EQ(all_reduce_max(group(), group().rank()), n - 1);
}

TEST(Mpi, BarrierWaitsForTheSlowest) {
  const auto now = [] { return std::chrono::steady_clock::now().time_since_epoch().count(); };  // one clock per host
  group().barrier();
  const int last = group().size() - 1;
  if (group().rank() == last) std::this_thread::sleep_for(std::chrono::milliseconds(200));
  const int64_t before = now();
  group().barrier();
  const int64_t after = now();
  EXPECT_GE(after, std::stoll(group().broadcast(std::to_string(before), last)));
}

TEST(Mpi, ErrorsAreAgreed) {
  EXPECT_NO_THROW(agree_on_errors(group(), 0, ""));
  const int last = group().size() - 1;
  try {
    agree_on_errors(group(), 3, group().rank() == last ? "tokens.bin is empty" : "");
    ADD_FAILURE() << "no error on rank " << group().rank();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kData);
    EXPECT_THAT(error.what(), HasSubstr("tokens.bin is empty"));
    if (last > 0) {
      EXPECT_THAT(error.what(), HasSubstr("rank " + std::to_string(last)));
    }
  }
}

TEST(Mpi, BucketReducerGivesTheBitsOfTheTree) {
  const ShardLayout layout({1, 2, 40, 41, 60}, group().size());
  const int64_t micro_batches = 12;
  const CpuContext context(2);
  BucketReducer reducer(context, group(), layout, micro_batches);
  for (int64_t step = 0; step < 2; ++step) {
    const Tensor shard = run_step(reducer, layout.chunks(), step, 7);
    const std::vector<float> sum = assemble(group(), layout, shard);
    EXPECT_TRUE(same_bits(sum, tree_sum(micro_batches, layout.chunks() * kChunkElements, step))) << "step " << step;
  }
  EXPECT_GE(reducer.exposed_seconds(), 0.0);
  EXPECT_LT(reducer.exposed_seconds(), 10.0);
}

TEST(Mpi, WaitingBurnsLittle) {
  group().barrier();
  if (group().rank() == 0) std::this_thread::sleep_for(std::chrono::seconds(1));
  const auto processor_seconds = [] {
    timespec time{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  const double start = processor_seconds();
  group().barrier();
  const double burnt = processor_seconds() - start;
  EXPECT_LT(burnt, 0.2);  // a spinning thread burns 1
  if (group().rank() == group().size() - 1) std::cout << "processor time of a wait of 1 s: " << burnt << " s\n";
}

TEST(World, RanksOfAHostReadEachOthersMemory) {
  uint64_t probe = 1, seen = 0;
  const iovec local{&seen, sizeof(seen)}, remote{&probe, sizeof(probe)};
  if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) != sizeof(probe)) {
    GTEST_SKIP() << "this system lets no process read another one's memory";
  }
  EXPECT_EQ(world->host_memory(), may_read_memory && world->local_size() > 1);
  const std::string way = world->local_size() == 1 ? "" : world->host_memory() ? "by memory" : "over MPI";
  EXPECT_THAT(world->describe(), HasSubstr(way.empty() ? "" : ", the host's ranks " + way));
}

TEST(World, EveryRankHasItsOwnCpus) {
  if (hosts > 1) {
    EXPECT_EQ(world->local_size(), (group().size() + 1 - group().rank() % 2) / 2);
    return;  // emulated hosts have the same CPUs
  }
  const std::vector<int> now = allowed_cpus();
  EXPECT_GE(world->threads(), 1);
  EXPECT_LT(world->local_rank(), world->local_size());
  EXPECT_EQ(world->local_size(), group().size()) << "these tests run on one host";
  const std::vector<std::string> all = group().all_gather_strings(describe_cpus(world->cpus()));
  std::vector<int> together;
  for (const std::string& list : all) {
    const std::vector<int> cpus = parse_cpus(list);
    together.insert(together.end(), cpus.begin(), cpus.end());
  }
  std::sort(together.begin(), together.end());
  EXPECT_EQ(std::adjacent_find(together.begin(), together.end()), together.end()) << "a CPU belongs to two ranks";
  allow_cpus_of_launcher();
  const std::vector<int> every = allowed_cpus();
  if (static_cast<int>(every.size()) >= group().size()) {
    EXPECT_EQ(together, every) << "CPUs are left over";
    EXPECT_EQ(describe_cpus(now), describe_cpus(world->cpus())) << "the affinity is not what was reported";
    EXPECT_EQ(world->threads(), static_cast<int>(world->cpus().size()));
    allow_cpus(world->cpus());
    EXPECT_THAT(world->describe(), HasSubstr(" on CPU"));
  } else {
    EXPECT_TRUE(together.empty());
    EXPECT_EQ(world->threads(), 1);
    EXPECT_THAT(world->describe(), HasSubstr("1 thread, not pinned"));
  }
  EXPECT_THAT(world->describe(),
              HasSubstr("rank " + std::to_string(group().rank()) + " of " + std::to_string(group().size()) + " on "));
}

}  // namespace
}  // namespace tsugi

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  tsugi::WorldOptions options;
  options.timeout_seconds = 30;
  const std::string flag = "--largest_message=";
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]).starts_with(flag)) options.largest_message = std::stoul(argv[i] + flag.size());
    if (std::string(argv[i]) == "--over_mpi") options.host_memory = false;
    if (std::string(argv[i]) == "--two_hosts") options.emulated_hosts = 2;
  }
  tsugi::may_read_memory = options.host_memory;
  tsugi::hosts = std::max(options.emulated_hosts, 1);
  tsugi::World joined(options);
  tsugi::world = &joined;
  std::cout << joined.describe() << std::endl;
  ::testing::TestEventListeners& listeners = ::testing::UnitTest::GetInstance()->listeners();
  struct FailuresOnly : ::testing::EmptyTestEventListener {
    void OnTestPartResult(const ::testing::TestPartResult& result) override {
      if (result.failed()) {
        std::cout << "rank " << tsugi::world->rank() << ": " << result.file_name() << ":" << result.line_number()
                  << ": " << result.message() << std::endl;
      }
    }
  };
  if (joined.rank() > 0) {
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new FailuresOnly);
  }
  const int failures = RUN_ALL_TESTS();
  // A rank that leaves with an error ends the others: first let all of them say theirs.
  return static_cast<int>(tsugi::all_reduce_max(joined.communicator(), failures));
}
