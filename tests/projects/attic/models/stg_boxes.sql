select id as box_id, what as content, state, bought_in from boxes
