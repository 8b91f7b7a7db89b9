// IDX images with their labels and classes: an Error(kData), or a label below the number of classes for each image.
//
// Input: the images file and the labels file (each u16 length, bytes), then classes.json; an empty one is not there.
#include "core/data/images/image_set.h"
#include "tests/fuzz/fuzzing.h"

TSUGI_FUZZ_TARGET(idx) {
  using namespace tsugi;
  static const fuzzing::MemoryFolder folder(".idx");
  const auto put = [&](const char* name, fuzzing::Input bytes) {
    ::unlink((folder.path() + "/" + name).c_str());
    if (!bytes.empty()) folder.put(name, bytes);
  };
  folder.put("images-idx3-ubyte", fuzzing::take_sized(input));
  put("labels-idx1-ubyte", fuzzing::take_sized(input));
  put("classes.json", input);
  fuzzing::refuse_or([&] {
    const ImageSet set = read_images(folder.path() + "/images-idx3-ubyte", {.total_bytes = 1 << 20});
    CHECK_GT(set.count(), 0);
    CHECK_EQ(static_cast<int64_t>(set.pixels.size()), set.count() * set.image_bytes());
    CHECK(set.labels.empty() || static_cast<int64_t>(set.labels.size()) == set.count());
    for (const int32_t label : set.labels) CHECK(label >= 0 && label < static_cast<int32_t>(set.classes.size()));
  });
}
