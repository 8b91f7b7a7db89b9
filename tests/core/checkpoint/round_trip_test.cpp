#include <algorithm>
#include <limits>

#include "core/checkpoint/manifest.h"
#include "core/checkpoint/safetensors.h"
#include "tests/core/checkpoint/checkpoint_testing.h"

namespace tsugi::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

/// `ranks` ranks save step `step`; every one must get the same path.
std::string save_with(int ranks, const std::string& directory, int64_t step, uint32_t seed) {
  std::vector<std::string> paths(static_cast<size_t>(ranks));
  run_ranks(ranks, [&](Communicator& communicator) {
    WholeState whole(awkward_tensors());
    whole.fill(seed);
    const auto me = static_cast<size_t>(communicator.rank());
    const RunLease lease = take_lease(communicator, directory);
    record_start(communicator, lease, 0);
    paths[me] =
        save_checkpoint(communicator, lease, state_of_step(step), whole.tensors, whole.deal(ranks, seed)[me], texts());
  });
  EXPECT_EQ(std::count(paths.begin(), paths.end(), paths.front()), ranks);
  return paths.front();
}

class RoundTrip : public ::testing::TestWithParam<int> {};

TEST_P(RoundTrip, AnyRanksReadWhatTheseWrote) {
  const TemporaryFolder folder;
  WholeState expected(awkward_tensors());
  expected.fill(11);
  const std::string path = save_with(GetParam(), folder.path() + "/run", 100, 11);
  EXPECT_EQ(path, folder.path() + "/run/checkpoints/step-00000100");
  EXPECT_NO_THROW(verify_checkpoint(path));
  for (const int readers : {1, 2, 3, 5}) {
    WholeState loaded(awkward_tensors());  // each reader fills its own ranges, cut elsewhere
    const auto parts = loaded.deal(readers, 99);
    for (const auto& part : parts) {
      const RunState state = load_checkpoint(path, loaded.tensors, part);
      EXPECT_EQ(state.step, 100);
      EXPECT_EQ(state.next_sample, 3200u);
      EXPECT_EQ(state.config_text, state_of_step(100).config_text);
      EXPECT_EQ(state.facts, state_of_step(100).facts);
    }
    EXPECT_TRUE(loaded == expected) << readers;
  }
  EXPECT_EQ(read_bytes(path + "/config.json"), texts()["config.json"]);
  EXPECT_EQ(fs::file_size(path + "/tokenizer.json"), 0u);
  EXPECT_TRUE(fs::exists(path + "/" + shard_file(GetParam() - 1, GetParam())));
}

// model.safetensors and the checksums must not depend on who wrote which piece.
TEST_P(RoundTrip, ModelFileDoesNotDependOnTheRanks) {
  const TemporaryFolder folder;
  const std::string one = save_with(1, folder.path() + "/one", 5, 3);
  const std::string many = save_with(GetParam(), folder.path() + "/many", 5, 3);
  EXPECT_EQ(read_bytes(one + "/model.safetensors"), read_bytes(many + "/model.safetensors"));
  EXPECT_EQ(read_manifest(Folder(one)).files.at(kModelFile).crc32c,
            read_manifest(Folder(many)).files.at(kModelFile).crc32c);
}

INSTANTIATE_TEST_SUITE_P(Ranks, RoundTrip, ::testing::Values(1, 2, 3));

TEST(Load, OverlappingWishesAndPartsOfTheState) {
  const TemporaryFolder folder;
  const std::string path = save_with(2, folder.path(), 1, 4);
  WholeState expected(awkward_tensors());
  expected.fill(4);
  std::vector<float> first(20), second(10);
  const std::vector<StateRange> ranges = {{0, 3, 20, first.data(), nullptr, nullptr},
                                          {0, 10, 10, second.data(), nullptr, nullptr}};
  load_checkpoint(path, expected.tensors, ranges);
  const std::vector<float>& master = expected.master[0];
  EXPECT_EQ(first, std::vector<float>(master.begin() + 3, master.begin() + 23));
  EXPECT_EQ(second, std::vector<float>(master.begin() + 10, master.begin() + 20));
}

TEST(Load, MomentsThatWereNotSavedAreNamed) {
  const TemporaryFolder folder;
  RunFolder run(folder.path());
  run.attempt(0);
  WholeState whole(awkward_tensors());
  whole.fill(1);
  std::vector<StateRange> ranges = whole.deal(1, 5)[0];
  for (StateRange& range : ranges) {
    if (range.tensor == 1 && range.offset + range.length > 6) range.exp_avg_sq = nullptr;
  }
  const std::string path = save_checkpoint(run.communicator(), run.lease, state_of_step(1), whole.tensors, ranges, {});
  EXPECT_THAT(error_of([&] { load_checkpoint(path, whole.tensors, {whole.range(1, 0, 13)}); }),
              AllOf(HasSubstr("exp_avg_sq/transformer.h.0.ln_1.bias"), HasSubstr(", 13)"), HasSubstr("not at all")));
  StateRange without = whole.range(1, 0, 13);
  without.exp_avg_sq = nullptr;
  EXPECT_NO_THROW(load_checkpoint(path, whole.tensors, {without}));
}

TEST(Load, AnotherModelIsNamed) {
  const TemporaryFolder folder;
  const std::string path = save_with(1, folder.path(), 1, 4);
  const auto load = [&](const std::vector<SavedTensor>& tensors) { load_checkpoint(path, tensors, {}); };
  std::vector<SavedTensor> tensors = awkward_tensors();
  tensors[0].shape = {5, 7};
  EXPECT_THAT(error_of([&] { load(tensors); }),
              AllOf(HasSubstr("model.safetensors"), HasSubstr("transformer.wte.weight"), HasSubstr("[7, 5]"),
                    HasSubstr("[5, 7]")));
  tensors = awkward_tensors();
  tensors.push_back({"head", {2}});
  EXPECT_THAT(error_of([&] { load(tensors); }), AllOf(HasSubstr("\"head\""), HasSubstr("missing")));
  tensors = awkward_tensors();
  tensors.erase(tensors.begin() + 2);
  EXPECT_THAT(error_of([&] { load(tensors); }), AllOf(HasSubstr("\"scale\""), HasSubstr("not part of the model")));
}

TEST(Save, RangesThatDoNotCoverAreAnErrorOnAllRanks) {
  const TemporaryFolder folder;
  for (const bool twice : {false, true}) {
    std::vector<std::string> messages(2);
    run_ranks(2, [&](Communicator& communicator) {
      WholeState whole(awkward_tensors());
      const auto me = static_cast<size_t>(communicator.rank());
      std::vector<StateRange> ranges = whole.deal(2, 8)[me];
      if (me == 1 && twice) ranges.push_back(whole.range(0, 4, 1));
      if (me == 1 && !twice) ranges.pop_back();
      const RunLease lease = take_lease(communicator, folder.path());
      messages[me] =
          error_of([&] { save_checkpoint(communicator, lease, state_of_step(1), whole.tensors, ranges, {}); },
                   ExitCode::kInternal);
    });
    EXPECT_THAT(messages[0], HasSubstr("exactly once"));
    EXPECT_EQ(messages[0], messages[1]);
  }
  for (const auto& entry : fs::directory_iterator(folder.path() + "/checkpoints")) {
    EXPECT_THAT(entry.path().filename().string(), HasSubstr("generation-"));
  }
}

// What only one rank meets (here a folder that one cannot write) must reach all, or the others wait for ever.
TEST(Save, ErrorOfOneRankReachesAll) {
  const TemporaryFolder folder;
  const std::string directory = folder.path() + "/run";
  std::vector<std::string> messages(3);
  run_ranks(3, [&](Communicator& communicator) {
    WholeState whole(awkward_tensors());
    const auto me = static_cast<size_t>(communicator.rank());
    RunLease lease = take_lease(communicator, directory);
    if (me == 2) lease.directory += "/elsewhere";
    messages[me] = error_of(
        [&] { save_checkpoint(communicator, lease, state_of_step(1), whole.tensors, whole.deal(3, 8)[me], texts()); },
        ExitCode::kInputOutput);
  });
  EXPECT_THAT(messages[0], AllOf(HasSubstr("rank 2"), HasSubstr("elsewhere"), HasSubstr("No such file")));
  EXPECT_EQ(messages[0], messages[1]);
  EXPECT_EQ(messages[0], messages[2]);
  EXPECT_FALSE(fs::exists(directory + "/checkpoints/step-00000001"));
  EXPECT_FALSE(fs::exists(directory + "/checkpoints/step-00000001.partial.g1"));
}

class Weights : public ::testing::Test {
 protected:
  /// A file of F32 tensors, written by our layout.
  void write(const std::string& name, const std::vector<std::pair<SavedTensor, std::vector<float>>>& tensors) {
    std::vector<SafetensorsSpec> specs;
    for (const auto& [tensor, values] : tensors) specs.push_back({tensor.name, "F32", tensor.shape});
    const SafetensorsLayout layout = lay_out_safetensors(specs);
    std::string bytes(static_cast<size_t>(layout.file_bytes), '\0');
    std::memcpy(bytes.data(), layout.header.data(), layout.header.size());
    for (size_t i = 0; i < tensors.size(); ++i) {
      std::memcpy(bytes.data() + layout.offsets[i], tensors[i].second.data(), tensors[i].second.size() * 4);
    }
    write_bytes(folder_.path() + "/" + name, bytes);
  }
  std::vector<float> load(const SavedTensor& tensor) {
    std::vector<float> values(static_cast<size_t>(WholeState::elements(tensor)));
    load_weights(folder_.path(), {tensor},
                 {{0, 0, static_cast<int64_t>(values.size()), values.data(), nullptr, nullptr}});
    return values;
  }
  TemporaryFolder folder_;
};

TEST_F(Weights, PrefixMayBeMissing) {
  write("model.safetensors",
        {{{"h.0.w", {2}}, {1, 2}}, {{"transformer.b", {1}}, {3}}, {{"b", {1}}, {4}}, {{"extra", {1}}, {5}}});
  EXPECT_EQ(load({"transformer.h.0.w", {2}}), (std::vector<float>{1, 2}));
  EXPECT_EQ(load({"transformer.b", {1}}), (std::vector<float>{3}));  // its full name comes first
  EXPECT_EQ(load({"b", {1}}), (std::vector<float>{4}));
  EXPECT_THAT(error_of([&] { load({"transformer.c", {1}}); }), HasSubstr("transformer.c"));
}

TEST_F(Weights, MixedTypes) {
  fs::copy_file(TSUGI_SOURCE_DIR "/tests/golden/mixed.safetensors", folder_.path() + "/model.safetensors");
  EXPECT_EQ(load({"scalar", {}}), (std::vector<float>{7.25f}));
  EXPECT_THAT(error_of([&] { load({"bf16", {5}}); }), AllOf(HasSubstr("bf16"), HasSubstr("not finite at element 3")));
  EXPECT_THAT(error_of([&] { load({"i64", {2}}); }), HasSubstr("I64"));
  std::vector<float> two(2);
  load_weights(folder_.path(), {{"f16", {7}}}, {{0, 1, 2, two.data(), nullptr, nullptr}});
  EXPECT_EQ(two, (std::vector<float>{-2.5f, 65504.0f}));
}

TEST_F(Weights, WrongShapeNamesEverything) {
  write("model.safetensors", {{{"w", {2, 3}}, std::vector<float>(6)}});
  EXPECT_THAT(error_of([&] { load({"w", {3, 2}}); }),
              AllOf(HasSubstr("model.safetensors"), HasSubstr("\"w\""), HasSubstr("[2, 3]"), HasSubstr("[3, 2]")));
}

TEST_F(Weights, SeveralFiles) {
  write("model-00001-of-00002.safetensors", {{{"a", {2}}, {1, 2}}});
  write("model-00002-of-00002.safetensors", {{{"b", {1}}, {3}}});
  const auto index = [&](const std::string& map) {
    write_bytes(folder_.path() + "/model.safetensors.index.json",
                "{\"metadata\": {\"total_size\": 12}, \"weight_map\": " + map + "}");
  };
  index(R"({"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"})");
  EXPECT_EQ(load({"transformer.a", {2}}), (std::vector<float>{1, 2}));
  EXPECT_EQ(load({"b", {1}}), (std::vector<float>{3}));
  index(R"({"a": "model-00002-of-00002.safetensors"})");
  EXPECT_THAT(error_of([&] { load({"a", {2}}); }), AllOf(HasSubstr("00002-of-00002"), HasSubstr("\"a\"")));
  index(R"({"a": "model-00003-of-00002.safetensors"})");
  EXPECT_THAT(error_of([&] { load({"a", {2}}); }), HasSubstr("No such file"));
}

TEST_F(Weights, NamesThatLeadOutOfTheFolder) {
  const TemporaryFolder outside;
  write("secret.safetensors", {{{"a", {1}}, {42}}});
  fs::rename(folder_.path() + "/secret.safetensors", outside.path() + "/secret.safetensors");
  fs::create_symlink(outside.path() + "/secret.safetensors", folder_.path() + "/link.safetensors");
  fs::create_symlink(outside.path(), folder_.path() + "/state");
  const std::string relative = "../" + fs::path(outside.path()).filename().string() + "/secret.safetensors";
  ASSERT_TRUE(fs::exists(folder_.path() + "/" + relative));
  for (const std::string& name :
       {relative, outside.path() + "/secret.safetensors", std::string("link.safetensors"),
        std::string("state/secret.safetensors"), std::string(".hidden"), std::string(""), std::string(".."),
        std::string("a\\u0000b"), std::string("state/../x"), std::string("state/"), std::string("a b"),
        std::string(300, 'a'), std::string("x/y")}) {
    write_bytes(folder_.path() + "/model.safetensors.index.json", R"({"weight_map": {"a": ")" + name + "\"}}");
    error_of([&] { load({"a", {1}}); });  // fails when there is no error
  }
}

TEST_F(Weights, NothingThere) {
  write_bytes(folder_.path() + "/pytorch_model.bin", "");
  EXPECT_THAT(error_of([&] { load({"a", {1}}); }), HasSubstr("neither model.safetensors nor"));
}

TEST_F(Weights, LinkedModelFileIsFollowed) {
  write("blob", {{{"a", {1}}, {42}}});
  fs::create_symlink("blob", folder_.path() + "/model.safetensors");
  EXPECT_EQ(load({"a", {1}}), (std::vector<float>{42}));
}

TEST_F(Weights, FolderInPlaceOfTheFile) {
  fs::create_directory(folder_.path() + "/model.safetensors");
  EXPECT_THAT(error_of([&] { load({"a", {1}}); }), HasSubstr("not a regular file"));
}

}  // namespace
}  // namespace tsugi::testing
