#include <zlib.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "core/data/file.h"
#include "core/data/images/augment.h"
#include "core/data/images/idx.h"
#include "core/data/images/image_set.h"
#include "ops/base/error.h"
#include "tests/ops/golden.h"
#include "tests/ops/testing.h"

namespace tsugi {
namespace {

namespace fs = std::filesystem;

const std::string kPictures = std::string(TSUGI_SOURCE_DIR) + "/tests/golden/images/";

/// A folder that is gone at the end.
class ImageFolder {
 public:
  ImageFolder() : path_(fs::temp_directory_path() / ("tsugi_images_" + std::to_string(::getpid()))) {
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  ~ImageFolder() { fs::remove_all(path_); }
  std::string path(const std::string& name = "") const {
    return name.empty() ? path_.string() : (path_ / name).string();
  }
  void put(const std::string& name, const std::string& bytes) const {
    fs::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << bytes;
  }
  void copy(const std::string& picture, const std::string& name) const {
    fs::create_directories((path_ / name).parent_path());
    fs::copy_file(kPictures + picture, path_ / name);
  }

 private:
  fs::path path_;
};

std::string complaint_of(const std::function<void()>& read) {
  try {
    read();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kData) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "nothing was refused";
  return {};
}

ImageSet decode_picture(const std::string& name) {
  const std::string bytes = read_file(kPictures + name, 1 << 20);
  return decode_image({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, name);
}

TEST(Images, PicturesAreReadAsPillowReadsThem) {
  const testing::Golden golden = testing::read_golden("images.txt");
  for (const auto& [name, expected] : golden) {
    if (name.find(".png") == std::string::npos && name.find(".jpg") == std::string::npos) continue;
    const ImageSet set = decode_picture(name);
    EXPECT_EQ(set.width, 12) << name;
    EXPECT_EQ(set.height, 10) << name;
    EXPECT_EQ(set.channels, name.starts_with("grey") ? 1 : 3) << name;
    ASSERT_EQ(set.pixels.size(), expected.size()) << name;
    // Decoders of JPEG may round colours and cosines in their own ways.
    const double tolerance = name.ends_with(".jpg") ? 3.0 : 0.0;
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(set.pixels[i], expected[i], tolerance) << name << " " << i;
  }
}

TEST(Images, ResizingIsPillows) {
  const testing::Golden golden = testing::read_golden("images.txt");
  const ImageSet set = decode_picture("colour.png");
  const auto check = [&](const char* name, const CropBox& box, int64_t size) {
    const std::vector<float> planes = resize_image(set.image(0), 10, 12, 3, box, size);
    const std::vector<double>& expected = golden.at(name);
    for (int64_t i = 0; i < size * size * 3; ++i) {
      const double value = 255.0 * static_cast<double>(planes[static_cast<size_t>(i % 3 * size * size + i / 3)]);
      EXPECT_NEAR(value, expected[static_cast<size_t>(i)], 1.01) << name << " " << i << ": Pillow rounds twice";
    }
  };
  check("resize.down", {0, 0, 12, 10}, 4);
  check("resize.up", {0, 0, 12, 10}, 17);
  check("resize.crop", {2.5, 1.25, 7.75, 7.25}, 6);
}

TEST(Images, TheSameSizeIsTheSamePicture) {
  ImageSet set = decode_picture("colour.png");
  const std::vector<float> planes = resize_image(set.image(0).first(300), 10, 10, 3, {0, 0, 10, 10}, 10);
  for (size_t i = 0; i < 300; ++i) EXPECT_EQ(planes[i % 3 * 100 + i / 3], static_cast<float>(set.pixels[i]) / 255.0f);
}

TEST(Images, ViewsAreFunctionsOfSeedSampleAndView) {
  const ImageSet set = decode_picture("colour.png");
  const Augmentations all{0.3f, 0.5f, 0.4f, 0.4f, 0.5f};
  const auto view = [&](uint64_t seed, uint64_t sample, uint32_t which) {
    return augment_image(set.image(0), 10, 12, 3, 8, all, view_stream(seed, sample, which));
  };
  const std::vector<float> first = view(1, 2, 0);
  EXPECT_EQ(view(1, 2, 0), first);
  EXPECT_NE(view(1, 2, 1), first);
  EXPECT_NE(view(1, 3, 0), first);
  EXPECT_NE(view(2, 2, 0), first);
  for (const float value : first) EXPECT_TRUE(value >= 0.0f && value <= 1.0f) << value;
  // Nothing is on: the picture, whatever the stream.
  EXPECT_EQ(augment_image(set.image(0), 10, 12, 3, 8, {}, view_stream(1, 2, 0)),
            resize_image(set.image(0), 10, 12, 3, {0, 0, 12, 10}, 8));
}

TEST(Images, EachTransformationDoesWhatItSays) {
  const ImageSet set = decode_picture("colour.png");
  const std::vector<float> plain = resize_image(set.image(0), 10, 12, 3, {0, 0, 12, 10}, 8);
  const auto with = [&](const Augmentations& some, uint64_t sample = 5) {
    return augment_image(set.image(0), 10, 12, 3, 8, some, view_stream(9, sample, 0));
  };
  const std::vector<float> flipped = with({.flip = 1.0f});
  for (size_t i = 0; i < plain.size(); ++i) EXPECT_EQ(flipped[i], plain[i / 8 * 8 + 7 - i % 8]);
  const std::vector<float> brighter = with({.brightness = 0.3f});
  const float factor = brighter[0] / plain[0];
  EXPECT_NE(factor, 1.0f);
  for (size_t i = 0; i < plain.size(); ++i) EXPECT_NEAR(brighter[i], std::min(1.0f, plain[i] * factor), 1e-5);
  const auto spread = [](const std::vector<float>& planes) {
    double mean = 0.0;
    double squares = 0.0;
    for (const float value : planes) mean += static_cast<double>(value) / static_cast<double>(planes.size());
    for (const float value : planes) squares += std::pow(static_cast<double>(value) - mean, 2);
    return std::pair(mean, squares);
  };
  EXPECT_NEAR(spread(with({.contrast = 0.3f})).first, spread(plain).first, 1e-2);
  EXPECT_LT(spread(with({.blur = 1.0f})).second, spread(plain).second);
  EXPECT_NEAR(spread(with({.blur = 1.0f})).first, spread(plain).first, 1e-2);
  // Crops cover the whole and have, on average, the share in the middle.
  int different = 0;
  for (uint64_t sample = 0; sample < 20; ++sample) different += with({.smallest_crop = 0.2f}, sample) != plain;
  EXPECT_EQ(different, 20);
}

TEST(Images, FourQuarterTurnsAreNone) {
  const ImageSet set = decode_picture("colour.png");
  const std::vector<float> plain = resize_image(set.image(0), 10, 12, 3, {0, 0, 12, 10}, 8);
  EXPECT_NE(rotate_image(plain, 3, 8, 1), plain);
  EXPECT_EQ(rotate_image(rotate_image(plain, 3, 8, 1), 3, 8, 3), plain);
  EXPECT_EQ(rotate_image(plain, 3, 8, 4), plain);
  EXPECT_EQ(rotate_image(plain, 3, 8, 1)[0], plain[7]) << "counterclockwise: the right upper corner comes to the left";
}

TEST(Images, PatchesAreInTheOrderOfAConvolutionsWeight) {
  std::vector<float> planes(2 * 4 * 4);
  for (size_t i = 0; i < planes.size(); ++i) planes[i] = static_cast<float>(i);
  std::vector<float> patches(planes.size());
  write_patches(planes, 2, 4, 2, patches.data());
  const float second[] = {2, 3, 6, 7, 18, 19, 22, 23};  // row 0, column 1: both channels
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(patches[8 + i], (second[i] - 0.5f) / 0.5f);
}

TEST(Images, IdxFilesComeBackAsTheyWere) {
  const ImageFolder folder;
  for (const int64_t channels : {1, 3}) {
    ImageSet set{"made", 3, 2, channels, {}, {2, 0, 1, 2}, {"ant", "bee", "cat"}};
    for (int64_t i = 0; i < 24 * channels; ++i) set.pixels.push_back(static_cast<uint8_t>(37 * i));
    const std::string stem = channels == 1 ? "grey" : "colour";
    write_idx(set, folder.path(), stem);
    const std::string path = find_idx(folder.path(), stem);
    ASSERT_NE(path, "");
    const ImageSet read = read_images(path);
    EXPECT_EQ(read.pixels, set.pixels);
    EXPECT_EQ(read.labels, set.labels);
    EXPECT_EQ(read.classes, set.classes);
    EXPECT_EQ(read.channels, channels);
    EXPECT_EQ(read.count(), 4);
    const int64_t some[] = {3, 1};
    EXPECT_EQ(select_images(read, some).labels, (std::vector<int32_t>{2, 0}));
    EXPECT_EQ(select_images(read, some).image(1)[0], read.image(1)[0]);
  }
  EXPECT_EQ(find_idx(folder.path(), "other"), "");
}

TEST(Images, MnistsNamesAndCompressionAreKnown) {
  const ImageFolder folder;
  const std::string header("\0\0\x08\x03\0\0\0\x02\0\0\0\x01\0\0\0\x02", 16);
  gzFile file = gzopen(folder.path("t10k-images-idx3-ubyte.gz").c_str(), "wb");
  const std::string images = header + "abcd";
  gzwrite(file, images.data(), static_cast<unsigned>(images.size()));
  gzclose(file);
  folder.put("t10k-labels-idx1-ubyte", std::string("\0\0\x08\x01\0\0\0\x02\x07\x03", 10));
  const ImageSet set = read_images(folder.path("t10k-images-idx3-ubyte.gz"));
  EXPECT_EQ(set.count(), 2);
  EXPECT_EQ(set.pixels[3], 'd');
  EXPECT_EQ(set.labels, (std::vector<int32_t>{7, 3}));
  EXPECT_EQ(set.classes.size(), 8u);
}

TEST(Images, FoldersAreClasses) {
  const ImageFolder folder;
  folder.copy("colour.png", "dogs/b.png");
  folder.copy("grey.png", "cats/z.PNG");
  folder.copy("colour.jpg", "cats/a.jpeg");
  folder.put("cats/notes.txt", "no picture");
  const ImageSet set = read_images(folder.path());
  EXPECT_EQ(set.classes, (std::vector<std::string>{"cats", "dogs"}));
  EXPECT_EQ(set.labels, (std::vector<int32_t>{0, 0, 1}));
  EXPECT_EQ(set.channels, 3);
  EXPECT_EQ(set.image(1)[0], set.image(1)[1]) << "grey, in colours";
  EXPECT_EQ(set.image(2)[0], decode_picture("colour.png").pixels[0]);
}

TEST(Images, AFolderWithoutClassesHasNoLabels) {
  const ImageFolder folder;
  folder.copy("grey.png", "b.png");
  folder.copy("colour.png", "c.png");
  const ImageSet set = read_images(folder.path());
  EXPECT_EQ(set.count(), 2);
  EXPECT_EQ(set.channels, 3) << "what was read in grey becomes coloured when colours come";
  EXPECT_TRUE(set.labels.empty());
}

TEST(Images, WhatIsWrongIsNamed) {
  const auto complain = [](const std::function<void(const ImageFolder&)>& make, const std::string& read) {
    const ImageFolder folder;
    make(folder);
    return complaint_of([&] { read_images(read.empty() ? folder.path() : folder.path(read)); });
  };
  const std::string damaged = read_file(kPictures + "colour.png", 1 << 20).substr(0, 150);
  EXPECT_NE(complain([&](const ImageFolder& f) { f.put("a/x.png", damaged); }, "").find("x.png"), std::string::npos);
  EXPECT_NE(complain([&](const ImageFolder& f) { f.put("a.jpg", "no picture"); }, "").find("a.jpg"), std::string::npos);
  EXPECT_NE(complain([&](const ImageFolder&) {}, "").find("has no .png"), std::string::npos);
  const auto mixed = [&](const ImageFolder& f) {
    f.copy("colour.png", "a.png");
    // A 1x1 grey PNG.
    f.put(
        "b.png",
        std::string(
            "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\0\0\0\0\x3a\x7e\x9b\x55\0\0\0\nIDAT\x78\x9c\x63\x60\0\0"
            "\0\2\0\1\x48\xaf\xa4\x71\0\0\0\0IEND\xae\x42\x60\x82",
            67));
  };
  const std::string sizes = complain(mixed, "");
  EXPECT_NE(sizes.find("b.png"), std::string::npos) << sizes;
  EXPECT_NE(sizes.find("1x1 pixels"), std::string::npos) << sizes;
  EXPECT_NE(sizes.find("12x10 pixels"), std::string::npos) << sizes;
  const auto beside = [&](const ImageFolder& f) {
    f.copy("grey.png", "cats/a.png");
    f.copy("grey.png", "b.png");
  };
  EXPECT_NE(complain(beside, "").find("b.png"), std::string::npos);

  const auto idx = [&](const std::string& bytes) {
    return complain([&](const ImageFolder& f) { f.put("images-idx3-ubyte", bytes); }, "images-idx3-ubyte");
  };
  EXPECT_NE(idx("").find("shorter"), std::string::npos);
  EXPECT_NE(idx(std::string("\0\1\x08\x03", 4)).find("two zero bytes"), std::string::npos);
  EXPECT_NE(idx(std::string("\0\0\x0d\x03", 4)).find("type 13"), std::string::npos);
  EXPECT_NE(idx(std::string("\0\0\x08\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 16)).find("more than"),
            std::string::npos);
  EXPECT_NE(idx(std::string("\0\0\x08\x03\0\0\0\2\0\0\0\1\0\0\0\1a", 17)).find("ends after 1 of 2"), std::string::npos);
  EXPECT_NE(idx(std::string("\0\0\x08\x03\0\0\0\1\0\0\0\1\0\0\0\1ab", 18)).find("goes on"), std::string::npos);
  EXPECT_NE(idx(std::string("\0\0\x08\x01\0\0\0\1a", 9)).find("1 extents"), std::string::npos);
  EXPECT_NE(idx(std::string("\0\0\x08\x03\0\0\0\0\0\0\0\1\0\0\0\1", 16)).find("no image"), std::string::npos);
}

TEST(Images, LimitsAreKeptBeforeMemoryIsTaken) {
  const std::string bytes = read_file(kPictures + "colour.png", 1 << 20);
  const std::span file(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  EXPECT_NE(complaint_of([&] { decode_image(file, "p.png", {.pixels = 100}); }).find("the limit is 100"),
            std::string::npos);
  EXPECT_NE(complaint_of([&] { decode_image(file, "p.png", {.file_bytes = 10}); }).find("larger than 10"),
            std::string::npos);
  const ImageFolder folder;
  folder.copy("colour.png", "a.png");
  folder.copy("colour.png", "b.png");
  EXPECT_NE(complaint_of([&] { read_images(folder.path(), {.total_bytes = 400}); }).find("more than 400 bytes"),
            std::string::npos);
}

}  // namespace
}  // namespace tsugi
