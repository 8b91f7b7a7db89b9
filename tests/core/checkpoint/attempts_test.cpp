// Attempts of one run: who may write, what is void, what is kept.
#include <algorithm>

#include "core/checkpoint/run_directory.h"
#include "tests/core/checkpoint/checkpoint_testing.h"

namespace tsugi::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("generation-")) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

TEST(Lease, GenerationsCount) {
  const TemporaryFolder folder;
  RunFolder run(folder.path() + "/new/run");
  run.attempt(0);
  EXPECT_EQ(run.lease.generation, 1);
  run.attempt(7);
  EXPECT_EQ(run.lease.generation, 2);
  const Survey survey = survey_run(folder.path() + "/new/run");
  ASSERT_EQ(survey.generations.size(), 2u);
  EXPECT_EQ(survey.generations[0].start_step, 0);
  EXPECT_EQ(survey.generations[1].start_step, 7);
  take_lease(run.communicator(), folder.path() + "/new/run");
  EXPECT_EQ(survey_run(folder.path() + "/new/run").generations[2].start_step, std::nullopt);
}

// Attempts that start at the same time must never share a number.
TEST(Lease, AtOnce) {
  const TemporaryFolder folder;
  std::vector<int64_t> taken(8);
  std::vector<std::thread> threads;
  for (int64_t& generation : taken) {
    threads.emplace_back([&] { generation = take_lease(*make_local_communicator(), folder.path()).generation; });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(taken, UnorderedElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
}

TEST(Lease, FollowsACopiedCheckpoint) {
  const TemporaryFolder folder;
  RunFolder run(folder.path() + "/a");
  for (int i = 0; i < 4; ++i) run.attempt(0);
  const std::string path = run.save(10);
  fs::create_directories(folder.path() + "/b/checkpoints");
  fs::copy(path, folder.path() + "/b/checkpoints/step-00000010", fs::copy_options::recursive);
  RunFolder copy(folder.path() + "/b");
  EXPECT_EQ(copy.find(), 10);
  copy.attempt(10);
  EXPECT_EQ(copy.lease.generation, 5);
  copy.save(20);
  EXPECT_EQ(copy.find(), 20);
}

TEST(Lease, FolderThatCannotBe) {
  const TemporaryFolder folder;
  write_bytes(folder.path() + "/file", "");
  EXPECT_THAT(
      error_of([&] { take_lease(*make_local_communicator(), folder.path() + "/file"); }, ExitCode::kInputOutput),
      HasSubstr("/file"));
}

TEST(Fence, OldAttemptMayNotWriteOnceANewOneBegan) {
  const TemporaryFolder folder;
  RunFolder old_life(folder.path()), new_life(folder.path());
  old_life.attempt(0);
  old_life.save(10);
  new_life.attempt(10);
  EXPECT_THAT(error_of([&] { old_life.save(20); }), AllOf(HasSubstr("attempt 2"), HasSubstr("began at step 10")));
  EXPECT_THAT(names_in(new_life.folder()), ElementsAre("step-00000010"));
  new_life.save(20);
  EXPECT_EQ(new_life.find(), 20);
}

// The old attempt's save may fall between the new one's search and its record: the file is then there, but void.
TEST(Fence, CheckpointBeyondANewersStartIsVoid) {
  const TemporaryFolder folder;
  RunFolder old_life(folder.path()), new_life(folder.path());
  old_life.attempt(0);
  old_life.save(10);
  new_life.lease = take_lease(new_life.communicator(), folder.path());
  old_life.save(20);
  EXPECT_EQ(new_life.find(), 20);  // not void as long as nobody went on from before it
  record_start(new_life.communicator(), new_life.lease, 10);
  EXPECT_EQ(new_life.find(), 10);
  EXPECT_THAT(new_life.damaged,
              ElementsAre(AllOf(HasSubstr("step-00000020"), HasSubstr("void"), HasSubstr("attempt 2"))));
  // The new life passes the same step; what stood there is put aside, not lost and not in the way.
  WholeState whole(awkward_tensors());
  new_life.save(20);
  EXPECT_EQ(new_life.find(), 20);
  EXPECT_THAT(new_life.damaged, IsEmpty());
  EXPECT_THAT(names_in(new_life.folder()), ElementsAre("step-00000010", "step-00000020", "step-00000020.void.g2"));
}

TEST(Fence, DamagedCheckpointDoesNotStandInTheWay) {
  const TemporaryFolder folder;
  RunFolder run(folder.path());
  run.attempt(0);
  run.save(10);
  run.save(20);
  write_bytes(run.path(20) + "/manifest.json", "{}");
  EXPECT_EQ(run.find(), 10);
  run.attempt(10);
  run.save(20);
  EXPECT_EQ(run.find(), 20);
  EXPECT_EQ(read_bytes(run.path(20) + ".void.g2/manifest.json"), "{}");
}

TEST(Fence, ExistingStepIsNeverOverwritten) {
  const TemporaryFolder folder;
  RunFolder run(folder.path());
  run.attempt(0);
  run.save(10);
  EXPECT_THAT(error_of([&] { run.save(10); }), HasSubstr("exists already"));
  run.attempt(10);
  EXPECT_THAT(error_of([&] { run.save(10); }), HasSubstr("exists already"));
  // An attempt that never said where it began cannot judge what is there.
  run.lease = take_lease(run.communicator(), folder.path());
  EXPECT_THAT(error_of([&] { run.save(10); }), HasSubstr("exists already"));
  EXPECT_EQ(run.find(), 10);
  EXPECT_THAT(names_in(run.folder()), ElementsAre("step-00000010"));
  // Not even a file or folder that is none of ours.
  fs::create_directory(run.path(30));
  write_bytes(run.path(30) + "/mine", "");
  EXPECT_THAT(error_of([&] { run.save(30); }), HasSubstr("exists already"));
  EXPECT_TRUE(fs::exists(run.path(30) + "/mine"));
}

TEST(Fence, DamagedGenerationFileIsNamed) {
  const TemporaryFolder folder;
  RunFolder run(folder.path());
  run.attempt(0);
  run.save(10);
  run.attempt(10);
  const std::string file = run.folder() + "/generation-2";
  const std::string text = read_bytes(file);
  for (size_t bit = 0; bit < text.size() * 8; ++bit) {
    std::string flipped = text;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    write_bytes(file, flipped);
    const Survey survey = survey_run(folder.path());
    EXPECT_THAT(survey.damaged, ElementsAre(HasSubstr("generation-2"))) << flipped;
  }
  EXPECT_EQ(run.find(), 10);
  run.attempt(10);
  EXPECT_EQ(run.lease.generation, 3);
}

TEST(Names, OnlyOurOwn) {
  using Kind = EntryName::Kind;
  EXPECT_EQ(parse_entry_name("step-00000010").kind, Kind::kCheckpoint);
  EXPECT_EQ(parse_entry_name("step-123456789012").step, 123456789012);
  EXPECT_EQ(parse_entry_name("step-00000010.partial.g3").kind, Kind::kPartial);
  EXPECT_EQ(parse_entry_name("step-00000010.partial.g3").generation, 3);
  EXPECT_EQ(parse_entry_name("step-00000010.void.g12").kind, Kind::kVoid);
  EXPECT_EQ(parse_entry_name("generation-12").generation, 12);
  for (const char* name :
       {"step-10", "step-000000010", "step--0000001", "step-", "step-0000001x", "step-00000010.partial",
        "step-00000010.partial.g", "step-00000010.partial.g03", "step-00000010.partial.g3x",
        "step-99999999999999999999", "generation-", "generation-0", "generation-01", "generation--1",
        "generation-1.tmp7", "generation-9223372036854775807", "", "best"}) {
    EXPECT_EQ(parse_entry_name(name).kind, Kind::kOther) << name;
  }
}

TEST(Retain, KeepsTheNewest) {
  const TemporaryFolder folder;
  RunFolder run(folder.path());
  run.attempt(0);
  for (const int step : {10, 20, 30, 40}) run.save(step);
  run.retain(0);
  EXPECT_EQ(names_in(run.folder()).size(), 4u);
  run.retain(9);
  EXPECT_EQ(names_in(run.folder()).size(), 4u);
  run.retain(2);
  EXPECT_THAT(names_in(run.folder()), ElementsAre("step-00000030", "step-00000040"));
  run.retain(1);
  EXPECT_THAT(names_in(run.folder()), ElementsAre("step-00000040"));
  EXPECT_EQ(run.find(), 40);
}

TEST(Retain, CountsOnlyIntactOnes) {
  const TemporaryFolder folder;
  RunFolder run(folder.path());
  run.attempt(0);
  for (const int step : {10, 20, 30, 40}) run.save(step);
  const std::string model = run.path(30) + "/model.safetensors";
  std::string bytes = read_bytes(model);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 16);
  write_bytes(model, bytes);
  run_ranks(3, [&](Communicator& communicator) { retain_checkpoints(communicator, run.lease, 2); });
  // The damaged one stays to be looked at until it is older than all that are kept.
  EXPECT_THAT(names_in(run.folder()), ElementsAre("step-00000020", "step-00000030", "step-00000040"));
  run.save(50);
  run.retain(2);
  EXPECT_THAT(names_in(run.folder()), ElementsAre("step-00000040", "step-00000050"));
}

TEST(Retain, NothingIsDeletedWhileThereAreTooFew) {
  const TemporaryFolder folder;
  RunFolder run(folder.path());
  run.attempt(0);
  for (const int step : {10, 20}) run.save(step);
  fs::remove(run.path(20) + "/manifest.json");
  run.retain(1);
  EXPECT_THAT(names_in(run.folder()), ElementsAre("step-00000010", "step-00000020"));
  fs::remove(run.path(10) + "/manifest.json");
  run.retain(1);
  EXPECT_THAT(names_in(run.folder()), ElementsAre("step-00000010", "step-00000020"));
}

TEST(Retain, LeftoversOfEarlierAttemptsOnly) {
  const TemporaryFolder folder;
  RunFolder run(folder.path());
  run.attempt(0);
  run.attempt(0);
  run.attempt(0);
  run.save(20);
  for (const char* name : {"step-00000030.partial.g1/state", "step-00000020.partial.g2", "step-00000010.void.g2",
                           "step-00000090.void.g2", "step-00000040.partial.g3", "step-00000040.partial.gx", "mine"}) {
    fs::create_directories(run.folder() + "/" + name);
  }
  run.retain(1);
  EXPECT_THAT(names_in(run.folder()), UnorderedElementsAre("mine", "step-00000020", "step-00000040.partial.g3",
                                                           "step-00000040.partial.gx", "step-00000090.void.g2"));
}

TEST(Retain, NeverFollowsLinks) {
  const TemporaryFolder folder, outside;
  write_bytes(outside.path() + "/treasure", "gold");
  RunFolder run(folder.path());
  run.attempt(0);
  run.attempt(0);
  run.save(20);
  run.save(30);
  fs::create_directory_symlink(outside.path(), run.path(10));
  fs::create_directory_symlink(outside.path(), run.path(5) + ".partial.g1");
  fs::create_directory_symlink(outside.path(), run.path(20) + "/state/link");
  run.retain(1);
  EXPECT_EQ(read_bytes(outside.path() + "/treasure"), "gold");
  EXPECT_THAT(names_in(run.folder()), ElementsAre("step-00000010", "step-00000030"));
}

TEST(Retain, StaleAttemptDeletesNothing) {
  const TemporaryFolder folder;
  RunFolder old_life(folder.path()), new_life(folder.path());
  old_life.attempt(0);
  old_life.save(10);
  old_life.save(20);
  new_life.attempt(20);
  old_life.retain(1);
  EXPECT_THAT(names_in(old_life.folder()), ElementsAre("step-00000010", "step-00000020"));
}

}  // namespace
}  // namespace tsugi::testing
