"""An answer → the maps that explain it: Grad-CAM, LIME, the lungs, and the figures drawn of them."""
