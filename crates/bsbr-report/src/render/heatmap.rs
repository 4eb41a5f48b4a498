//! Attention maps as images.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::error::ReportError;
use crate::render::colour;

/// The lowest drawn weight; a quarter of the scale is a factor of ten.
pub const FLOOR: f64 = 1e-4;

/// A square of weights, pooled by the maximum to at most `pixels` per side, as an 8-bit grey PNG
/// in base64. Levels are the logarithm of the weight, from [`FLOOR`] to 1.
///
/// # Errors
///
/// [`ReportError::Image`] if the encoder fails.
pub fn encode(weights: &[f32], tokens: usize, pixels: usize) -> Result<String, ReportError> {
    let block = tokens.div_ceil(pixels.max(1)).max(1);
    let side = tokens.div_ceil(block);
    let mut pooled = vec![0.0f32; side * side];
    for (i, row) in weights.chunks_exact(tokens.max(1)).enumerate() {
        for (j, &weight) in row.iter().enumerate() {
            let cell = &mut pooled[i / block * side + j / block];
            *cell = cell.max(weight.abs());
        }
    }
    let levels: Vec<u8> = pooled
        .iter()
        .map(|&weight| {
            let level = 1.0 - f64::from(weight).max(FLOOR).log10() / FLOOR.log10();
            (level.clamp(0.0, 1.0) * 255.0).round() as u8
        })
        .collect();
    let bytes = png(side, &levels, png::ColorType::Grayscale, None)?;
    Ok(STANDARD.encode(bytes))
}

/// A grey PNG in base64 as a PNG in the colours of the map.
///
/// # Errors
///
/// [`ReportError::Image`] if it is not such an image.
pub fn colourise(grey: &str) -> Result<Vec<u8>, ReportError> {
    let bytes = STANDARD.decode(grey).map_err(invalid)?;
    let decoder = png::Decoder::new(std::io::Cursor::new(bytes));
    let mut reader = decoder.read_info().map_err(invalid)?;
    let size = reader.output_buffer_size();
    let mut levels = vec![0; size.ok_or_else(|| invalid("too large"))?];
    let info = reader.next_frame(&mut levels).map_err(invalid)?;
    if info.color_type != png::ColorType::Grayscale || info.width != info.height {
        return Err(invalid("expected a grey square"));
    }
    png(
        info.width as usize,
        &levels,
        png::ColorType::Indexed,
        Some(palette()),
    )
}

/// The colours of the 256 levels.
pub fn palette() -> Vec<u8> {
    (0..256)
        .flat_map(|level| colour::map(f64::from(level) / 255.0))
        .collect()
}

fn invalid(error: impl ToString) -> ReportError {
    ReportError::Image(error.to_string())
}

fn png(
    side: usize,
    levels: &[u8],
    kind: png::ColorType,
    palette: Option<Vec<u8>>,
) -> Result<Vec<u8>, ReportError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, side as u32, side as u32);
    encoder.set_color(kind);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::High);
    if let Some(palette) = palette {
        encoder.set_palette(palette);
    }
    let mut writer = encoder.write_header().map_err(invalid)?;
    writer.write_image_data(levels).map_err(invalid)?;
    writer.finish().map_err(invalid)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_survives_the_round_trip() {
        let weights: Vec<f32> = (0..100)
            .map(|i| if i % 11 == 0 { 1.0 } else { 0.0 })
            .collect();
        let grey = encode(&weights, 10, 5).unwrap();
        let coloured = colourise(&grey).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(coloured))
            .read_info()
            .unwrap();
        let mut levels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut levels).unwrap();
        assert_eq!((info.width, info.height), (5, 5));
        assert_eq!(levels[0], 255);
        assert_eq!(levels[4], 0);
        assert!(colourise("bm8=").is_err());
    }
}
