// Files that were cut, flipped, swapped, lost or linked: the damaged checkpoint is named and the one before it is used.
#include "core/checkpoint/manifest.h"
#include "tests/core/checkpoint/checkpoint_testing.h"

namespace tsugi::testing {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

/// A run with steps 10 and 20; 20 is there to be damaged.
class Damage : public ::testing::Test {
 protected:
  Damage() : run_(folder_.path()) {
    run_.attempt(0);
    run_.save(10);
    run_.save(20);
    good_ = folder_.path() + "/good";
    fs::copy(run_.path(20), good_, fs::copy_options::recursive);
  }
  void restore() {
    fs::remove_all(run_.path(20));
    fs::copy(good_, run_.path(20), fs::copy_options::recursive);
  }
  /// Step 20 must be refused, naming `file`, and step 10 used.
  void expect_refused(const std::string& file, const std::string& what) {
    EXPECT_EQ(run_.find(), 10) << what;
    EXPECT_THAT(run_.damaged, ElementsAre(AllOf(HasSubstr("step-00000020"), HasSubstr(file)))) << what;
    EXPECT_NE(error_of([&] { verify_checkpoint(run_.path(20)); }), "") << what;
  }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& [name, file] : read_manifest(Folder(good_)).files) names.push_back(name);
    names.push_back(kManifestFile);
    return names;
  }

  TemporaryFolder folder_;
  RunFolder run_;
  std::string good_;
};

TEST_F(Damage, None) {
  EXPECT_EQ(run_.find(), 20);
  EXPECT_THAT(run_.damaged, IsEmpty());
  EXPECT_THAT(files(), SizeIs(6));
}

TEST_F(Damage, EveryFileCutOrLengthened) {
  for (const std::string& name : files()) {
    const std::string bytes = read_bytes(good_ + "/" + name);
    const size_t size = bytes.size();
    for (const size_t length :
         {size_t{0}, size_t{1}, size_t{7}, size_t{8}, size_t{9}, size / 3, size / 2, size - 4, size - 1}) {
      if (length >= size) continue;
      write_bytes(run_.path(20) + "/" + name, bytes.substr(0, length));
      // Without its last line break the manifest is as good as before.
      if (name == kManifestFile && length == size - 1) continue;
      expect_refused(name, name + " cut to " + std::to_string(length));
    }
    if (name != kManifestFile) {
      write_bytes(run_.path(20) + "/" + name, bytes + '\0');
      expect_refused(name, name + " lengthened");
    }
    restore();
  }
}

TEST_F(Damage, FlippedBits) {
  for (const std::string& name : files()) {
    const std::string bytes = read_bytes(good_ + "/" + name);
    for (size_t i = 0; i < bytes.size(); i += 1 + bytes.size() / 23) {
      std::string flipped = bytes;
      flipped[i] = static_cast<char>(flipped[i] ^ (1 << (i % 8)));
      write_bytes(run_.path(20) + "/" + name, flipped);
      expect_refused(name, name + " byte " + std::to_string(i));
    }
    write_bytes(run_.path(20) + "/" + name, bytes);
  }
  EXPECT_EQ(run_.find(), 20);
}

TEST_F(Damage, EveryBitOfTheManifest) {
  const std::string text = read_bytes(good_ + "/manifest.json");
  for (size_t bit = 0; bit < text.size() * 8; ++bit) {
    std::string flipped = text;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_NE(error_of([&] { parse_manifest(flipped, "manifest.json"); }), "") << bit;
  }
}

TEST_F(Damage, MissingFile) {
  for (const std::string& name : files()) {
    fs::remove(run_.path(20) + "/" + name);
    expect_refused(name, name);
    restore();
  }
}

TEST_F(Damage, FileThatTheManifestDoesNotList) {
  write_bytes(run_.path(20) + "/notes.txt", "mine");
  write_bytes(run_.path(20) + "/state/shard-00001-of-00002.safetensors", "not ours");
  EXPECT_EQ(run_.find(), 20);
  EXPECT_THAT(run_.damaged, IsEmpty());
}

TEST_F(Damage, FileOfAnotherStep) {
  for (const std::string& name : {std::string(kModelFile), shard_file(0, 1), std::string(kRunFile)}) {
    fs::copy_file(run_.path(10) + "/" + name, run_.path(20) + "/" + name, fs::copy_options::overwrite_existing);
    expect_refused(name, name);
    restore();
  }
  // A whole folder under another name.
  fs::rename(run_.path(20), run_.path(30));
  EXPECT_EQ(run_.find(), 10);
  EXPECT_THAT(run_.damaged, ElementsAre(HasSubstr("step 20")));
}

TEST_F(Damage, SwappedShards) {
  run_ranks(2, [&](Communicator& communicator) {
    WholeState whole(awkward_tensors());
    whole.fill(30);
    const auto me = static_cast<size_t>(communicator.rank());
    save_checkpoint(communicator, run_.lease, state_of_step(30), whole.tensors, whole.deal(2, 7)[me], texts());
  });
  EXPECT_EQ(run_.find(), 30);
  const std::string first = run_.path(30) + "/" + shard_file(0, 2);
  const std::string second = run_.path(30) + "/" + shard_file(1, 2);
  fs::rename(first, first + ".x");
  fs::rename(second, first);
  fs::rename(first + ".x", second);
  EXPECT_EQ(run_.find(), 20);
  EXPECT_THAT(run_.damaged, ElementsAre(HasSubstr("shard-0000")));
}

TEST_F(Damage, LinksAndOtherThingsAreNotRead) {
  const std::string model = run_.path(20) + "/model.safetensors";
  fs::remove(model);
  fs::create_symlink(good_ + "/model.safetensors", model);
  expect_refused("symbolic link", "model");
  restore();
  fs::remove_all(run_.path(20) + "/state");
  fs::create_symlink(good_ + "/state", run_.path(20) + "/state");
  expect_refused("link", "state");
  restore();
  fs::remove(model);
  ASSERT_EQ(::system(("mkfifo " + model).c_str()), 0);
  expect_refused("not a regular file", "named pipe");
  fs::remove_all(run_.path(20));
  fs::create_symlink(good_, run_.path(20));
  EXPECT_EQ(run_.find(), 10);
  EXPECT_THAT(run_.damaged, ElementsAre(HasSubstr("symbolic link")));
}

TEST_F(Damage, HostileManifest) {
  Manifest manifest = read_manifest(Folder(good_));
  EXPECT_EQ(parse_manifest(manifest_text(manifest), "m").files.size(), manifest.files.size());
  for (const std::string name :
       {"../secret", "/etc/passwd", "state/../../x", ".hidden", "a/b", "", "manifest.json", "a\nb"}) {
    Manifest hostile = manifest;
    hostile.files[name] = {1, 2};
    error_of([&] { parse_manifest(manifest_text(hostile), "m"); });
  }
  Manifest other = manifest;
  other.world_size = 2;
  EXPECT_THAT(error_of([&] { parse_manifest(manifest_text(other), "m"); }), HasSubstr("shard-00000-of-00002"));
  other = manifest;
  other.files[shard_file(4, 7)] = {};
  EXPECT_THAT(error_of([&] { parse_manifest(manifest_text(other), "m"); }), HasSubstr("another number of ranks"));
  other = manifest;
  other.files.erase(kModelFile);
  EXPECT_THAT(error_of([&] { parse_manifest(manifest_text(other), "m"); }), HasSubstr(kModelFile));
  EXPECT_THAT(error_of([&] { parse_manifest(R"({"crc32c": "00000000", "manifest": {"version": 2}})", "m"); }),
              HasSubstr("version 2 is newer"));
}

TEST_F(Damage, NothingIntactIsNothing) {
  fs::remove(run_.path(10) + "/manifest.json");
  fs::remove(run_.path(20) + "/manifest.json");
  EXPECT_EQ(run_.find(), 0);
  EXPECT_THAT(run_.damaged, SizeIs(2));
  RunFolder empty(folder_.path() + "/nowhere");
  EXPECT_EQ(empty.find(), 0);
  EXPECT_THAT(empty.damaged, IsEmpty());
}

TEST_F(Damage, ManyRanksFindTheSame) {
  const std::string file = run_.path(20) + "/" + shard_file(0, 1);
  std::string bytes = read_bytes(file);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write_bytes(file, bytes);
  std::vector<std::string> found(3);
  std::vector<std::vector<std::string>> damaged(3);
  run_ranks(3, [&](Communicator& communicator) {
    const auto me = static_cast<size_t>(communicator.rank());
    found[me] = find_checkpoint(communicator, folder_.path(), damaged[me]);
  });
  EXPECT_THAT(found, Each(run_.path(10)));
  EXPECT_THAT(damaged, Each(ElementsAre(HasSubstr("shard-00000-of-00001"))));
}

}  // namespace
}  // namespace tsugi::testing
