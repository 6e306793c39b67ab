// A file of `dsunet export` in C++, by OpenVINO: a picture of the view's size in, its map out.
//
//     W=$(python -c "import openvino, pathlib; print(pathlib.Path(openvino.__file__).parent)")
//     g++ -std=c++17 -O2 segment.cpp -I$W/include $W/libs/libopenvino.so.* -Wl,-rpath,$W/libs -o segment
//     ./segment lite.onnx photo.ppm mask.pgm      # or lite.xml
//
// photo.ppm is binary (P6) and as large as the model's view, 352×352 of dsunet-lite; mask.pgm is too.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <iostream>
#include <openvino/openvino.hpp>
#include <vector>

int main(int count, char** arguments) try {
    if (count != 4) throw std::runtime_error("usage: segment MODEL PHOTO.ppm MASK.pgm");
    std::ifstream photo(arguments[2], std::ios::binary);
    std::string kind;
    size_t width = 0, height = 0, most = 0;
    photo >> kind >> width >> height >> most;
    if (!photo || kind != "P6" || most != 255) throw std::runtime_error("a P6 file is needed");
    photo.get();  // the one space before the pixels
    std::vector<unsigned char> pixels(3 * width * height);
    if (!photo.read(reinterpret_cast<char*>(pixels.data()), pixels.size()))
        throw std::runtime_error("the picture is cut off");

    const float mean[] = {0.485f, 0.456f, 0.406f}, deviation[] = {0.229f, 0.224f, 0.225f};
    ov::Tensor view(ov::element::f32, {1, 3, height, width});
    for (size_t channel = 0; channel < 3; ++channel)
        for (size_t i = 0; i < width * height; ++i)
            view.data<float>()[channel * width * height + i] =
                (pixels[3 * i + channel] / 255.0f - mean[channel]) / deviation[channel];

    ov::Core core;
    auto request = core.compile_model(arguments[1], "CPU").create_infer_request();
    request.set_tensor("sam_image", view);
    request.infer();
    const float* map = request.get_tensor("probability").data<const float>();

    std::ofstream mask(arguments[3], std::ios::binary);
    mask << "P5\n" << width << " " << height << "\n255\n";
    for (size_t i = 0; i < width * height; ++i) mask.put(static_cast<char>(std::lround(255 * map[i])));
} catch (const std::exception& error) {
    std::cerr << "segment: " << error.what() << "\n";
    return 1;
}
