"""How good results are: COCO's metrics before and after, and how sure a difference is."""
